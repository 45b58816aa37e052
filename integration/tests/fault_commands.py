"""Every command of the ten packages that writes, and how one sees that what it wrote is whole."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from hostile_readers import audited, studied
from symphony_ui import load_book

MODULES = (
    "matplotlib.pyplot", "matplotlib.backends.backend_svg", "er_ssl.cli", "ema_scaling.cli",
    "ema_scaling.plots", "ema_scaling.posthoc", "deeppcr.__main__", "deeppcr.plot", "homssl.cli",
    "homssl.plots", "lv_ssl.cli", "act_steer.cli", "act_steer.plot", "act_steer.control_vector",
    "transformers.models.llama.modeling_llama", "duet.cli", "duet.plots", "vpsa_fair.cli",
    "randaug_study.cli", "randaug_study.plots", "vpsa_fair.config", "vpsa_fair.plots",
    "PIL.PngImagePlugin", "symphony_ui.cli", "symphony_ui.enrich", "symphony_ui.html",
    "symphony_ui.analysis.analyze", "sklearn.mixture", "tenfold.tour", "tenfold.races", "arro3.io",
    "torch._dynamo", "torch.optim",
)  # fmt: skip
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


def steered(folder):
    """A tiny language model, its tokenizer, and maps for it."""
    import act_steer
    from act_steer.transport import LinearTransport, MeanTransport
    from tokenizers import Tokenizer, models
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=16, hidden_size=8, intermediate_size=8, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=32,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder / "model")
    words = Tokenizer(models.WordLevel({f"w{n}": n for n in range(16)}, unk_token="w0"))
    made = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="w0", eos_token="w1")
    made.save_pretrained(folder / "model")
    a, b = torch.randn(2, 9, 8)
    linear = {"model.layers.0.input_layernorm": LinearTransport.fit(a, b, support="all")}
    act_steer.Steering(linear).save(folder / "maps.safetensors")
    mean = {"model.layers.1": MeanTransport.fit(a, b, support="all")}
    act_steer.Steering(mean).save(folder / "mean.safetensors")


def a_checkpoint(path):
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_pretrained(path.parent, local_files_only=True)


def posed(folder):
    """A small model of duet's, its decoder, and images."""
    import duet

    draw = np.random.default_rng(0)
    np.save(folder / "x.npy", draw.integers(0, 256, (40, 8, 8), dtype=np.uint8))
    torch.manual_seed(0)
    factor = duet.rotation(bins=4)
    duet.Duet(duet.ConvNet(1, features=16), [factor]).save(folder / "duet.safetensors")
    duet.Decoder(16, 1, (8, 8)).save(folder / "decoder.safetensors")


def audit_run(folder):
    """Two runs of a small audit."""
    from vpsa_fair import item_response

    for seed, name in enumerate(("one", "two")):
        right = np.random.default_rng(seed).random((60, 3)) < 0.8
        item_response(right, [0, 1, 2], groups=["a", "b"] * 30, n_boot=40).save(folder / name)


def reported(folder):
    """A small study that has been run."""
    from randaug_study.cli import main

    studied(folder)
    study, data = str(folder / "study.toml"), str(folder / "data")
    assert main(["run", study, "--data", data, "--arms", "none", "random"]) == 0


def readable_runs(path):
    from randaug_study.study import Journal

    assert all("run" in row for row in Journal(path).lines())


def readable_events(path):
    from vpsa_fair.store import read_journal

    if path.suffix == ".jsonl":
        read_journal(path)


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
        SNAPSHOT,
        writes=tuple(f"snapshots/000000000000008-{g}.safetensors" for g in ("6.9372", "16.9722")),
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
    "act-steer report": Command(
        call("act_steer.cli", "report", "maps.safetensors", "--csv", "a.csv", "--plot", "a.png"),
        steered, ("a.csv", "a.png"),
    ),
    "act-steer gguf": Command(
        call("act_steer.cli", "gguf", "mean.safetensors", "-o", "a.gguf"), steered, ("a.gguf",)
    ),
    "act-steer fold": Command(
        call("act_steer.cli", "fold", "maps.safetensors", "--model", "model", "-o", "new"),
        steered, ("new/model.safetensors",), whole=a_checkpoint,
    ),
    "act-steer, saved maps": Command(
        "from act_steer import load\nload('maps.safetensors').save('a.safetensors')",
        steered, ("a.safetensors",),
    ),
    "duet demo": Command(
        call("duet.cli", "demo", "--data", "x.npy", "--steps", "2", "--batch", "8", "--out", "o"),
        posed, tuple(f"o/{name}.safetensors" for name in ("model", "decoder")),
    ),
    "duet evaluate": Command(
        call("duet.cli", "evaluate", "duet.safetensors", "--data", "x.npy", "--decoder",
             "decoder.safetensors", "--out", "o"),
        posed, ("o/report.csv", "o/rotation-grid.png"),
    ),
    "vpsa-fair audit": Command(
        call("vpsa_fair.cli", "audit", "audit.toml"), audited,
        tuple(f"run/{name}" for name in (
            "counts.npz", "result.json", "curves.csv", "matrix.csv", "stats.json", "report.html",
        )),
        appends=("run/journal.jsonl",), whole=readable_events,
    ),
    "vpsa-fair report": Command(
        call("vpsa_fair.cli", "report", "one", "--html", "a.html", "--png", "a.png"), audit_run,
        ("a.html", "a.png"),
    ),
    "vpsa-fair compare": Command(
        call("vpsa_fair.cli", "compare", "one", "two", "--csv", "a.csv"), audit_run, ("a.csv",)
    ),
    "vpsa-fair levels": Command(
        call("vpsa_fair.cli", "levels", "audit.toml", "--png", "a.png"), audited, ("a.png",)
    ),
    "randaug-study run": Command(
        call("randaug_study.cli", "run", "study.toml", "--data", "data", "--resume"), studied,
        appends=("runs.jsonl",), whole=readable_runs,
    ),
    "randaug-study report": Command(
        call("randaug_study.cli", "report", "study.toml"), reported,
        ("report.md", "summary.csv", "forest.png"),
    ),
    "randaug-study show": Command(
        call("randaug_study.cli", "show", "--ops", "Rotate", "--out", "a.png"), writes=("a.png",),
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
# which refuse what stands there, or ask marks of it
NO_OLD = ("symphony-ui new", "races", "act-steer fold")
