"""Every reader of files, fed what nobody wrote: it reads it or says what is wrong, in good time.

Bytes that Hypothesis makes, valid files with bytes changed, cut, doubled or moved, and pickles
that would tell. A reader may answer or raise `ValueError`, `TypeError` or `OSError` (a package's
own errors are such); anything else, a reader that does not come back, or one that ends the process,
fails. Each reader runs in a process of its own that has little memory to give: a file that asks
for gigabytes must be refused before it gets them.
"""

import multiprocessing
import os
import pickle

import numpy as np
import pytest
from hostile_readers import READERS, npy, npz
from hostile_server import serve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload([
    "torch", "matplotlib.pyplot", "act_steer.cli", "duet.cli", "er_ssl.cli", "ema_scaling.cli",
    "homssl.cli", "lv_ssl.cli", "randaug_study.cli", "symphony_ui.cli", "vpsa_fair.cli",
    "vpsa_fair.config", "tenfold.cache", "tenfold.study", "arro3.io",
])  # fmt: skip
PATIENCE = 60  # seconds for one file, on a busy machine
BOMB = pickle.dumps(np.array([{"a": 1}], dtype=object), protocol=2)


class Payload:
    """What a pickle would run."""

    def __reduce__(self):
        return (os.mkdir, ("executed",))


class Reader:
    """A process that reads files, forked from one in which the packages are loaded."""

    def __init__(self, name, folder):
        self.setup, self.ending, make = READERS[name]
        self.folder, self.valid = folder, make()
        self.path = folder / f"file{self.ending}"
        self.process = None

    def start(self):
        self.path.write_bytes(self.valid)
        self.line, end = FORKS.Pipe()
        self.process = FORKS.Process(
            target=serve, args=(end, str(self.folder), self.setup, self.path.name), daemon=True
        )
        self.process.start()
        end.close()
        assert self.answer() == "ready", "the valid file is not read"

    def answer(self):
        """What the process says, within the patience that there is."""
        if not self.line.poll(PATIENCE):
            self.stop()
            pytest.fail("the reader hangs")
        try:
            return self.line.recv()
        except EOFError:
            self.process.join()
            code = self.process.exitcode
            self.stop()
            pytest.fail(f"the reader ended the process ({code})")

    def __call__(self, content):
        """Fail unless the file is read, or refused with a reason."""
        if self.process is None:
            self.start()
        self.path.write_bytes(content)
        self.line.send(self.path.name)
        assert self.answer() == ""
        assert not (self.folder / "executed").exists(), "the file's code ran"

    def stop(self):
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.line.close()
            self.process = None


@pytest.fixture(scope="module", params=READERS)
def reader(request, tmp_path_factory):
    made = Reader(request.param, tmp_path_factory.mktemp("hostile"))
    yield made
    made.stop()


@st.composite
def spoilt(draw, valid):
    """A valid file of which some bytes are changed, cut out, doubled or put elsewhere."""
    content = bytearray(valid)
    for _ in range(draw(st.integers(1, 4))):
        if not content:
            break
        at = draw(st.integers(0, len(content) - 1))
        end = min(len(content), at + draw(st.sampled_from([1, 1, 2, 8, 64, len(content)])))
        kind = draw(st.sampled_from(["set", "bytes", "cut", "double", "move", "number"]))
        if kind == "set":
            content[at] = draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]) | st.integers(0, 255))
        elif kind == "bytes":
            content[at:end] = draw(st.binary(max_size=12))
        elif kind == "cut":
            del content[at:end]
        elif kind == "double":
            content[at:at] = content[at:end]
        elif kind == "move":
            part = content[at:end]
            del content[at:end]
            to = draw(st.integers(0, len(content)))
            content[to:to] = part
        else:
            big = draw(st.sampled_from([b"99999999999999999999", b"-1", b"1e999", b"NaN", b"null"]))
            content[at:end] = big
    return bytes(content)


ODD = [
    b"", b"\x00", b"\n", b"\xff" * 64, b"[" * 100_000, b'{"a":' * 50_000, b"(" * 50_000,
    pickle.dumps(Payload()), npy(np.array([Payload()], dtype=object)),
    npz(a=np.array([Payload()], dtype=object), header=np.array([Payload()], dtype=object)), BOMB,
    b"\x93NUMPY\x01\x00\x76\x00" + b"{'descr': '<f4', 'fortran_order': False, "
    b"'shape': (1000000000000, 10), }".ljust(117) + b"\n",
    b"\x93NUMPY\x01\x00\x76\x00" + b"{'descr': '<f4', 'fortran_order': False, "
    b"'shape': (0, 99999999999999999999), }".ljust(117) + b"\n",
    b"\x93NUMPY\x01\x00\x76\x00" + b"__import__('os').mkdir('executed')".ljust(117) + b"\n",
    b"\xff\xff\xff\xff\xff\xff\xff\x7f{}", b"\x02\x00\x00\x00\x00\x00\x00\x00{}",
    b"PK\x05\x06" + bytes(18), b"PAR1" + b"\xff\xff\xff\x7f" + b"PAR1", b"ARROW1\x00\x00",
    b"1e400,NaN\n" * 10, "\ud800".encode("utf-8", "surrogatepass"), b"a\x00b,c\n1,2\n",
]  # fmt: skip


@pytest.mark.parametrize("content", ODD, ids=range(len(ODD)))
def test_odd_files_are_read_or_refused(reader, content):
    reader(content)


COMMON = {"deadline": None, "suppress_health_check": list(HealthCheck)}


@settings(max_examples=25, **COMMON)
@given(data=st.data())
def test_a_spoilt_file_is_read_or_refused(reader, data):
    reader(data.draw(spoilt(reader.valid)))


@pytest.mark.slow
@settings(max_examples=500, **COMMON)
@given(data=st.data())
def test_many_spoilt_files_are_read_or_refused(reader, data):
    reader(data.draw(spoilt(reader.valid) | st.binary(max_size=300)))


CARELESS = {
    "pickle": "import pickle\nread = lambda p: pickle.loads(open(p, 'rb').read())",
    "index": "read = lambda p: {}[open(p, 'rb').read()] if len(open(p, 'rb').read()) > 9 else 0",
    "memory": "read = lambda p: bytearray(4 << 30) if len(open(p, 'rb').read()) > 99 else 0",
    "abort": "import os\nread = lambda p: len(open(p, 'rb').read()) > 9 and os.abort()",
}


@pytest.mark.parametrize(("name", "why"), [
    ("pickle", "code ran"), ("index", "KeyError"), ("memory", "MemoryError"), ("abort", "ended"),
])  # fmt: skip
def test_a_careless_reader_is_caught(name, why, tmp_path, monkeypatch):
    valid = pickle.dumps(1)
    monkeypatch.setitem(READERS, "careless", (CARELESS[name], ".bin", lambda: valid))
    careless = Reader("careless", tmp_path)
    try:
        with pytest.raises((AssertionError, pytest.fail.Exception), match=why):
            careless(pickle.dumps(Payload()) if name == "pickle" else b"x" * 200)
    finally:
        careless.stop()
