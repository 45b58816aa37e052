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
from pathlib import Path

import pytest
from fault_commands import COMMANDS, MODULES, NO_OLD, Command, readable_journal

HERE = Path(__file__).parent
OLD = b"what stood here before\n"


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
        drafts = [
            path.relative_to(folder) for path in folder.rglob("*")
            if path.is_file() and path.name not in self.names
        ]  # fmt: skip
        assert all("/." in f"/{d}" or d.parent.name == "claims" for d in drafts), (
            f"{drafts} look like whole files"
        )
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
