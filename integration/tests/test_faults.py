"""Every command that writes, killed in the middle of it: nothing lost, nothing half-written.

A command is run once undisturbed. Then, in a fresh folder each time, it is killed before one of
its file operations, or by the kernel as a file grows beyond some bytes; what stood there before
must stand there still, or the whole new thing. Run again, it ends as if it had never been killed.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from symphony_ui import load_book

HERE = Path(__file__).parent
MODULES = (
    "matplotlib.pyplot", "matplotlib.backends.backend_svg", "er_ssl.cli", "ema_scaling.cli",
    "ema_scaling.plots", "ema_scaling.posthoc", "deeppcr.__main__", "deeppcr.plot", "homssl.cli",
    "homssl.plots", "lv_ssl.cli", "symphony_ui.cli", "symphony_ui.enrich", "symphony_ui.html",
    "symphony_ui.analysis.analyze", "sklearn.mixture", "tenfold.tour", "tenfold.races", "arro3.io",
)  # fmt: skip
OLD = b"what stood here before\n"
Check = Callable[[Path], None]


def call(module, *arguments):
    """Code that runs a package's command."""
    return f"from {module} import main\nraise SystemExit(main({list(map(str, arguments))!r}))"


@dataclass
class Command:
    """What is run, what it writes, and how one sees that this is whole.

    Attributes:
        code: run in a folder that `prepare` has filled.
        prepare: writes the inputs.
        writes: files that it replaces: the old one or the whole new one.
        appends: files that grow by lines: none of the old ones may go.
        same: whether two undisturbed runs write the same bytes.
        whole: fails on a path that is not whole; for what is not the same each time.
    """

    code: str
    prepare: Check = lambda folder: None
    writes: tuple[str, ...] = ()
    appends: tuple[str, ...] = ()
    same: bool = True
    whole: Check = field(default=lambda path: None)


def is_json(path):
    json.loads(path.read_text())


def is_svg(path):
    assert path.read_text().rstrip().endswith("</svg>")


def is_png(path):
    assert path.read_bytes().endswith(b"IEND\xaeB`\x82")


def is_book(path):
    assert load_book(path).tabs


def embeddings(folder):
    draw = np.random.default_rng(0)
    x = draw.normal(size=(64, 12)).astype(np.float32)
    np.save(folder / "view1.npy", x)
    np.save(folder / "view2.npy", x + 0.1 * draw.normal(size=x.shape).astype(np.float32))
    np.save(folder / "labels.npy", np.arange(64) % 3)


def with_codes(folder):
    from lv_ssl.cli import main

    embeddings(folder)
    head, codes = folder / "h.safetensors", folder / "codes.npz"
    views = [str(folder / "view1.npy"), str(folder / "view2.npy")]
    assert (
        main(["fit", *views, "-o", str(head), "--dim", "16", "--batch", "32", "--epochs", "1"]) == 0
    )
    assert main(["encode", str(head), views[0], "-o", str(codes)]) == 0


def trace(folder):
    from er_ssl import ERMonitor

    monitor = ERMonitor()
    for step in (10, 20):
        monitor.update(torch.eye(8), torch.eye(8))
        monitor.record(folder / "trace.jsonl", step=step)


def readable_trace(path):
    from er_ssl import read_trace

    assert {10, 20} <= set(read_trace(path)["step"])


def recipe(folder):
    table = {"batch": 256, "optimizer": "adamw", "lr": 1e-3, "ema_decay": 0.999}
    (folder / "recipe.json").write_text(json.dumps(table))


def snapshots(folder):
    from ema_scaling import PostHocEMA

    torch.manual_seed(0)
    model = torch.nn.Linear(32, 32)
    ema = PostHocEMA(model, batch=8)
    for _ in range(3):
        for _ in range(8):
            with torch.no_grad():
                model.weight.add_(0.1)
            ema.update()
        ema.snapshot(folder / "snapshots")


def recorded(folder):
    (folder / "run.jsonl").write_text('{"samples": 0, "loss": 1.0}\n')


def readable_rows(path):
    from ema_scaling.files import read_rows

    assert next(iter(read_rows(path)))["loss"] == 1.0
    assert all("samples" in row for row in read_rows(path))


def pictures(folder):
    draw = np.random.default_rng(0)
    np.save(folder / "x.npy", draw.integers(0, 256, (40, 8, 8), dtype=np.uint8))
    np.save(folder / "y.npy", np.arange(40) % 2)


def readable_journal(path):
    for line in path.read_text().splitlines():
        assert set(json.loads(line)) >= {"task", "result"}


def readable_run(path):
    if path.suffix == ".jsonl":
        readable_journal(path)
    elif path.suffix == ".png":
        is_png(path)


def table(folder):
    draw = np.random.default_rng(0)
    columns = {"score": draw.random(40), "clip": draw.random((40, 4)), "label": np.arange(40) % 3}
    np.savez(folder / "table.npz", **columns)


def stations(folder):
    (folder / "stations").mkdir()
    for number, name in enumerate(("first", "second")):
        (folder / "stations" / f"{name}.py").write_text(
            "from tenfold.station import StationResult\n"
            "class Station:\n"
            f"    claim, budget_s = 'claim {number}', 1\n"
            f"    claim = 'claim {number}'\n    budget_s = 1\n"
            "    def run(self, context):\n"
            f"        open('ran.jsonl', 'a').write('{{\"station\": \"{name}\"}}\\n')\n"
            f"        return StationResult('reproduced', '{name}', {{'t': {{'n': [1, 2]}}}})\n"
        )


def races(folder):
    (folder / "packages" / "alpha" / "benchmarks").mkdir(parents=True)
    (folder / "packages" / "alpha" / "benchmarks" / "speed.py").touch()
    (folder / "out" / "alpha").mkdir(parents=True)
    figures = [{"what": "time", "value": 2.0, "at_least": 1.0}]
    text = json.dumps({"races": figures, "versions": {"alpha": "1"}})
    (folder / "out" / "alpha" / "speed.json").write_text(text)


QUICK_BENCH = """
from deeppcr import bench
def race(length, width, **_):
    return bench.Race("backward", length, width, {"loop": 2.0, "parallel": 1.0})
bench.backward_race = bench.solve_race = race
"""
QUICK_CELLS = """
from homssl import demo
from homssl.experiment import FailureCell, SweepCell
def failure(*_, net, loss, seed, steps, **__):
    return FailureCell(net, loss, seed, (0.1,) * 3, (0.2,) * 3, 0.5, 1.0, (0.5, 0.6))
def sweep(*_, base_size, distance, seed, steps, **__):
    return SweepCell(base_size, distance, seed, 2.0, 1.0, 0.0, 0.5)
demo.run_failure_cell, demo.run_sweep_cell = failure, sweep
"""
RECORD = """
import torch
from er_ssl import ERMonitor
monitor = ERMonitor()
for step in (30, 40, 50):
    monitor.update(torch.eye(8), torch.eye(8))
    monitor.record("trace.jsonl", step=step)
"""
SAVE = """
import torch
from ema_scaling import ModelEMA
torch.manual_seed(0)
ModelEMA(torch.nn.Linear(64, 64), 0.9).save_safetensors("ema.safetensors")
"""
RECORDER = """
import torch
from ema_scaling import ModelEMA, Recorder
recorder = Recorder("run.jsonl", ModelEMA(torch.nn.Linear(4, 4), 0.9))
for loss in (0.9, 0.8, 0.7):
    recorder.record(loss=loss)
"""
STUDY = """
from pathlib import Path
from tenfold.study import run_tasks
tasks = [{"x": x} for x in range(5)]
run_tasks(tasks, lambda task: {"y": task["x"], "text": "y" * 100}, Path("journal.jsonl"), jobs=0)
"""
TOUR = """
from pathlib import Path
from tenfold.tour import main
raise SystemExit(main(["--out", "tour"], folder=Path("stations")))
"""
SNAPSHOT = """
import torch
from ema_scaling import PostHocEMA
torch.manual_seed(0)
ema = PostHocEMA(torch.nn.Linear(64, 64), batch=8)
ema.update()
ema.snapshot("snapshots", overwrite=True)
"""
DEMO = ("demo", "--images", "x.npy", "--labels", "y.npy", "--steps", "1", "--seeds", "1")
SWEEP = (*DEMO, "--sweep", "distance", "--out", "out")
COMMANDS = {
    "er-ssl plot": Command(
        call("er_ssl.cli", "plot", "trace.jsonl", "-o", "a.svg"), trace, ("a.svg",)
    ),
    "er-ssl, a monitor's record": Command(
        RECORD, trace, appends=("trace.jsonl",), whole=readable_trace
    ),
    "ema-scaling scale": Command(
        call("ema_scaling.cli", "scale", "recipe.json", "--to", "1024", "-o", "a.json"),
        recipe, ("a.json",),
    ),
    "ema-scaling toy": Command(
        call("ema_scaling.cli", "toy", "--kappas", "1,8", "--samples", "64", "--plot", "a.svg"),
        writes=("a.svg",), same=False, whole=is_svg,
    ),
    "ema-scaling posthoc": Command(
        call("ema_scaling.cli", "posthoc", "snapshots", "--sigma-rel", "0.1", "-o", "a.safetensors",
             "--tolerance", "10"),
        snapshots, ("a.safetensors",),
    ),
    "ema-scaling, a saved average": Command(SAVE, writes=("ema.safetensors",)),
    "ema-scaling, a snapshot": Command(
        SNAPSHOT, writes=("snapshots/000000000008-0.0000.safetensors",), same=False
    ),
    "ema-scaling, a recorder": Command(
        RECORDER, recorded, appends=("run.jsonl",), whole=readable_rows
    ),
    "deeppcr bench --json": Command(
        QUICK_BENCH + call("deeppcr.__main__", "bench", "--json", "a.json"), writes=("a.json",)
    ),
    "deeppcr bench --plot": Command(
        QUICK_BENCH + call("deeppcr.__main__", "bench", "--plot", "a.svg"),
        writes=("a.svg",), same=False, whole=is_svg,
    ),
    "deeppcr bench --calibrate": Command(
        "from deeppcr import bench\nbench.calibrate = lambda *a, **k: {'pcr dense': (1.0, 2.0)}\n"
        + call("deeppcr.__main__", "bench", "--calibrate", "a.json"),
        writes=("a.json",), same=False, whole=is_json,
    ),
    "homssl demo --failure": Command(
        QUICK_CELLS + call("homssl.cli", *DEMO, "--failure", "--out", "out"),
        pictures, ("out/failure.csv",), appends=("out/failure.jsonl",), whole=readable_run,
    ),
    "homssl demo --sweep": Command(
        QUICK_CELLS + call("homssl.cli", *SWEEP), pictures, ("out/sweep.csv", "out/sweep.png"),
        appends=("out/sweep.jsonl",), whole=readable_run,
    ),
    "homssl check": Command(
        call("homssl.cli", "check", "torch.nn:Identity", "--group", "c4", "--csv", "a.csv",
             "--output", "any"),
        writes=("a.csv",),
    ),
    "lv-ssl fit": Command(
        call("lv_ssl.cli", "fit", "view1.npy", "view2.npy", "-o", "a.safetensors", "--dim", "16",
             "--batch", "32", "--epochs", "1"),
        embeddings, ("a.safetensors",),
    ),
    "lv-ssl encode": Command(
        call("lv_ssl.cli", "encode", "h.safetensors", "view1.npy", "-o", "a.npz"),
        with_codes, ("a.npz",),
    ),
    "lv-ssl rd-curve": Command(
        call("lv_ssl.cli", "rd-curve", "codes.npz", "--labels", "labels.npy", "--train-rows", "40",
             "-o", "a.csv"),
        with_codes, ("a.csv",),
    ),
    "symphony-ui export": Command(
        call("symphony_ui.cli", "export", "table.npz", "-o", "a.html"), table, ("a.html",)
    ),
    "symphony-ui analyze": Command(
        call("symphony_ui.cli", "analyze", "table.npz", "--vectors", "clip", "-o", "a.arrow"),
        table, ("a.arrow",),
    ),
    "symphony-ui new": Command(
        call("symphony_ui.cli", "new", "violin"), writes=("violin.js", "violin.py")
    ),
    "tour": Command(
        TOUR, stations, ("tour/index.html",), appends=("ran.jsonl",), same=False,
        whole=lambda path: is_book(path) if path.suffix == ".html" else None,
    ),
    "a study": Command(STUDY, appends=("journal.jsonl",), whole=readable_journal),
    "races": Command(
        call("tenfold.races", "out"), races, ("out/races.md", "out/races.html"),
    ),
}  # fmt: skip
NO_OLD = ("symphony-ui new", "races")  # which refuse what stands there, or ask marks of it


class Killer:
    """The process that forks what is killed."""

    def __init__(self):
        command = [sys.executable, str(HERE / "_faults.py"), *MODULES]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        assert json.loads(self.process.stdout.readline()) == {"ready": True}

    def __call__(self, code, folder, **where):
        print(json.dumps({"code": code, "cwd": str(folder), **where}), file=self.process.stdin)
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=30)
        self.process.stdout.close()


@pytest.fixture(scope="module")
def killed():
    killer = Killer()
    yield killer
    killer.close()


class Trial:
    """One command, undisturbed, and then killed where the test says."""

    def __init__(self, name, killed, tmp_path):
        self.command, self.killed, self.path = COMMANDS[name], killed, tmp_path
        self.ready, self.number = tmp_path / "ready", 0
        self.ready.mkdir()
        self.command.prepare(self.ready)
        if name not in NO_OLD:
            for file in self.command.writes:
                (self.ready / file).parent.mkdir(parents=True, exist_ok=True)
                (self.ready / file).write_bytes(OLD)
        clean = self.folder()
        done = killed(self.command.code, clean)
        assert done["status"] == 0, done["said"]
        self.events = done["events"]
        self.new = {name: (clean / name).read_bytes() for name in self.command.writes}
        self.grown = {name: (clean / name).read_bytes() for name in self.command.appends}
        self.names = {path.name for path in clean.rglob("*")}
        self.largest = max(map(len, [*self.new.values(), *self.grown.values()]))
        assert all(OLD not in new for new in self.new.values())

    def folder(self):
        """A fresh folder with the inputs, and with what stood there before."""
        self.number += 1
        return Path(shutil.copytree(self.ready, self.path / f"{self.number}"))

    def whole(self, name, path):
        """Fails unless a file is the old one or the whole new one."""
        before = self.ready / name
        if not path.exists():
            assert not before.exists(), f"{name} is gone"
        elif not (before.exists() and path.read_bytes() == before.read_bytes()):
            if self.command.same:
                assert path.read_bytes() == self.new[name], f"{name} is half-written"
            self.command.whole(path)

    def die(self, **where):
        """Kill it there, look, run it again, look."""
        folder = self.folder()
        done = self.killed(self.command.code, folder, **where)
        assert done["status"] in (-signal.SIGKILL, -signal.SIGXFSZ), (where, done)
        for name in self.command.writes:
            self.whole(name, folder / name)
        drafts = {p.name for p in folder.rglob("*") if p.is_file()} - self.names
        assert all(name.startswith(".") for name in drafts), f"{drafts} look like whole files"
        kept = {}
        for name in self.command.appends:
            before = (self.ready / name).read_bytes() if (self.ready / name).exists() else b""
            now = (folder / name).read_bytes() if (folder / name).exists() else b""
            assert now.startswith(before), f"{name} has lost lines"
            kept[name] = now[: now.rfind(b"\n") + 1]
        again = self.killed(self.command.code, folder)
        assert again["status"] == 0, (where, again["said"])
        for name in self.command.writes:
            if self.command.same:
                assert (folder / name).read_bytes() == self.new[name], name
            assert (folder / name).read_bytes() != OLD
            self.command.whole(folder / name)
        for name, lines in kept.items():
            text = (folder / name).read_bytes()
            assert text.startswith(lines), f"{name} has lost lines"
            assert text.endswith(b"\n")
            self.command.whole(folder / name)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_killed_command_loses_nothing_and_ends_well_when_run_again(name, killed, tmp_path):
    trial = Trial(name, killed, tmp_path)
    trial.die(event=trial.events)  # before the last move
    trial.die(event=(trial.events + 1) // 2)
    trial.die(bytes=trial.largest // 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_may_be_killed_anywhere(name, killed, tmp_path):
    trial = Trial(name, killed, tmp_path)
    for event in range(1, trial.events + 1):
        trial.die(event=event)
    for count in sorted({1, trial.largest // 3, 2 * trial.largest // 3, trial.largest - 1}):
        trial.die(bytes=count)


@pytest.mark.parametrize("where", [{"event": 2}, {"bytes": 5}])
def test_a_file_that_is_written_in_place_is_caught(killed, tmp_path, monkeypatch, where):
    careless = Command("open('a', 'w').write('new ' * 9)\nopen('b', 'w')", writes=("a",), same=True)
    monkeypatch.setitem(COMMANDS, "careless", careless)
    trial = Trial("careless", killed, tmp_path)
    monkeypatch.setitem(trial.new, "a", b"something else")
    with pytest.raises(AssertionError, match="a is half-written"):
        trial.die(**where)


def test_a_journal_that_joins_a_torn_line_to_the_next_is_caught(killed, tmp_path, monkeypatch):
    careless = Command(
        "file = open('a', 'a')\nfor n in (1, 2):\n"
        "    file.write('{\"task\": 1, \"result\": 2}\\n')\n    file.flush()",
        appends=("a",), whole=readable_journal,
    )  # fmt: skip
    monkeypatch.setitem(COMMANDS, "careless", careless)
    with pytest.raises(json.JSONDecodeError):
        Trial("careless", killed, tmp_path).die(bytes=40)
