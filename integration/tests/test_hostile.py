"""Every reader of files, fed what nobody wrote: it reads it or says what is wrong, in good time.

Bytes that Hypothesis makes, valid files with bytes changed, cut, doubled or moved, and pickles
that would tell. A reader may answer or raise `ValueError`, `TypeError` or `OSError` (a package's
own errors are such); anything else, a reader that does not come back, or one that ends the process,
fails. Each reader runs in a process of its own that has little memory to give: a file that asks
for gigabytes must be refused before it gets them.
"""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

HERE = Path(__file__).parent
PATIENCE = 60  # seconds for one file, on a busy machine
BOMB = pickle.dumps(np.array([{"a": 1}], dtype=object), protocol=2)


class Payload:
    """What a pickle would run."""

    def __reduce__(self):
        return (os.mkdir, ("executed",))


def npy(array):
    import io

    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def npz(**arrays):
    import io

    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def written(make):
    """The bytes of a file that a function writes."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file")
        made = make(path)
        return Path(made if isinstance(made, (str, Path)) else path).read_bytes()


def trace():
    from er_ssl import ERMonitor

    def make(path):
        monitor = ERMonitor()
        for step in (1, 2):
            monitor.update(torch.eye(4), torch.eye(4))
            monitor.record(path, step=step)

    return written(make)


def average():
    from ema_scaling import ModelEMA

    torch.manual_seed(0)
    ema = ModelEMA(torch.nn.Linear(3, 2), 0.9)
    return written(lambda path: ema.save_safetensors(path))


def snapshot():
    from ema_scaling import PostHocEMA

    def make(path):
        ema = PostHocEMA(torch.nn.Linear(3, 2), batch=8)
        ema.update()
        return next(iter(ema.snapshot(path.with_name("snapshots"))))

    return written(make)


def head():
    from lv_ssl import StochasticHead, save_head

    return written(lambda path: save_head(path, StochasticHead(4, 3)))


def codes():
    from lv_ssl import CodeBook, pack_bits

    ones = np.ones(3, np.float32)
    book = CodeBook(pack_bits(np.eye(3)), 3, ones, ones)
    return written(lambda path: book.save(path))


def tables(kind):
    """A small table in the format of an ending."""
    import io

    from arro3.core import Array, DataType, Table
    from arro3.io import write_csv, write_ipc, write_ipc_stream, write_ndjson, write_parquet

    columns = {
        "n": Array([1, 2, 3], type=DataType.int64()),
        "x": Array([0.5, None, 2.5], type=DataType.float64()),
        "label": Array(["a", None, "a"], type=DataType.utf8()),
    }
    write = {
        "csv": write_csv, "arrow": write_ipc, "arrows": write_ipc_stream,
        "jsonl": write_ndjson, "parquet": write_parquet,
    }[kind]  # fmt: skip
    file = io.BytesIO()
    write(Table.from_pydict(columns), file)
    return file.getvalue()


def page():
    import symphony_ui as sui

    made = sui.Page({"n": [1, 2], "label": ["a", "b"]}, [sui.Summary()])
    return written(lambda path: made.save(path))


def station():
    from tenfold import cache
    from tenfold.station import StationResult

    result = StationResult("partly", "it", arrays={"a": np.arange(3)})

    def make(path):
        cache.save(path, result, 1.0)
        return path / "result.json"

    return written(make)


RECIPE = {"batch": 256, "optimizer": "adamw", "lr": 0.001, "ema_decay": 0.999, "steps": 10}
X, Y = np.linspace(0, 1, 24, dtype=np.float32).reshape(6, 4), np.arange(6) % 2
READERS = {
    "er-ssl: .npy": ("from er_ssl.npy import read_npy as read", ".npy", lambda: npy(X)),
    "er-ssl: measure": (
        "from er_ssl.cli import main\nread = lambda p: main(['measure', p, p])", ".npy",
        lambda: npy(X),
    ),
    "er-ssl: trace": ("from er_ssl import read_trace as read", ".jsonl", trace),
    "er-ssl: plot": (
        "from er_ssl.cli import main\nread = lambda p: main(['plot', p, '-o', 'out.svg'])",
        ".jsonl", trace,
    ),
    "ema-scaling: JSON": (
        "from ema_scaling.cli import main\nread = lambda p: main(['scale', p, '--to', '512'])",
        ".json", lambda: json.dumps(RECIPE).encode(),
    ),
    "ema-scaling: TOML": (
        "from ema_scaling.cli import main\nread = lambda p: main(['scale', p, '--to', '512'])",
        ".toml", lambda: "".join(f"{k} = {json.dumps(v)}\n" for k, v in RECIPE.items()).encode(),
    ),
    "ema-scaling: runs": (
        "from ema_scaling.cli import main\nread = lambda p: main(['compare', p, p])", ".jsonl",
        lambda: b'{"samples": 1, "loss": 2.0}\n{"samples": 2, "loss": 1.0}\n',
    ),
    "ema-scaling: inspect": (
        "from ema_scaling.cli import main\nread = lambda p: main(['inspect', p])", ".safetensors",
        average,
    ),
    "ema-scaling: a saved average": (
        "import torch\nfrom ema_scaling import ModelEMA\n"
        "read = lambda p: ModelEMA(torch.nn.Linear(3, 2), 0.9).load_safetensors(p)",
        ".safetensors", average,
    ),
    "ema-scaling: snapshots": (
        "import os, shutil\nfrom ema_scaling.cli import main\n"
        "def read(p):\n"
        "    shutil.rmtree('s', ignore_errors=True)\n    os.mkdir('s')\n"
        "    shutil.copy(p, 's/a.safetensors')\n"
        "    return main(['posthoc', 's', '--sigma-rel', '0.1', '-o', 'o.safetensors'])",
        ".safetensors", snapshot,
    ),
    "homssl: images": (
        "from homssl.demo import read_data\n"
        "from pathlib import Path\n"
        "read = lambda p: read_data(Path(p), None, labels_needed=False)", ".npy",
        lambda: npy(np.zeros((4, 6, 6), np.uint8)),
    ),
    "homssl: labels": (
        "import numpy as np\nfrom homssl.demo import read_data\n"
        "np.save('x.npy', np.zeros((6, 4, 4), np.uint8))\n"
        "from pathlib import Path\n"
        "read = lambda p: read_data(Path('x.npy'), Path(p), labels_needed=True)", ".npy",
        lambda: npy(Y),
    ),
    "homssl: journal": (
        "from pathlib import Path\nfrom homssl.journal import run_cells\n"
        "read = lambda p: run_cells(Path(p), [], print)", ".jsonl",
        lambda: b'{"task": {"a": 1}, "result": {"b": 2}}\n',
    ),
    "lv-ssl: .npy": (
        "from lv_ssl.cli import main\n"
        "read = lambda p: main(['fit', p, p, '-o', 'h', '--dim', '8', '--epochs', '1',"
        " '--batch', '2'])", ".npy", lambda: npy(X),
    ),
    "lv-ssl: head": ("from lv_ssl import load_head as read", ".safetensors", head),
    "lv-ssl: codes": ("from lv_ssl import CodeBook\nread = CodeBook.load", ".npz", codes),
    "lv-ssl: report": (
        "from lv_ssl.cli import main\nread = lambda p: main(['report', p])", ".npz", codes
    ),
    **{
        f"symphony-ui: {kind}": (
            "import symphony_ui as sui\n"
            "read = lambda p: sui.Page(p).to_html()",
            f".{kind}", lambda kind=kind: tables(kind),
        )
        for kind in ("csv", "arrow", "arrows", "jsonl", "parquet")
    },
    "symphony-ui: npz": (
        "import symphony_ui as sui\nread = lambda p: sui.Page(p).to_html()", ".npz",
        lambda: npz(x=X[:, 0], label=Y),
    ),
    "symphony-ui: a saved page": ("import symphony_ui as sui\nread = sui.load", ".html", page),
    "symphony-ui: check": (
        "from symphony_ui.cli import main\nread = lambda p: main(['check', p])", ".html", page
    ),
    "tenfold: journal": (
        "from pathlib import Path\nfrom tenfold.study import read_journal\n"
        "read = lambda p: read_journal(Path(p))", ".jsonl",
        lambda: b'{"task": {"a": 1}, "result": {"b": 2}}\n',
    ),
    "tenfold: a cached station": (
        "import shutil, os\nfrom pathlib import Path\nfrom tenfold.cache import load\n"
        "import numpy as np\n"
        "def read(p):\n"
        "    os.makedirs('c', exist_ok=True)\n    shutil.copy(p, 'c/result.json')\n"
        "    np.savez('c/arrays.npz', a0=np.arange(3))\n    return load(Path('c'))",
        ".json", station,
    ),
    "tenfold: a station's arrays": (
        "import shutil, os, json\nfrom pathlib import Path\nfrom tenfold.cache import load\n"
        "def read(p):\n"
        "    os.makedirs('c', exist_ok=True)\n    shutil.copy(p, 'c/arrays.npz')\n"
        "    text = {'format': 'tenfold station', 'version': 1, 'seconds': 1, 'result':"
        " {'array': 'a0'}}\n"
        "    Path('c/result.json').write_text(json.dumps(text))\n    return load(Path('c'))",
        ".npz", lambda: npz(a0=X),
    ),
    "tenfold: CIFAR": (
        "import shutil, os\nfrom pathlib import Path\nfrom tenfold.data.images import cifar10\n"
        "def read(p):\n"
        "    folder = Path('cifar-10-batches-bin')\n    folder.mkdir(exist_ok=True)\n"
        "    for n in range(1, 6):\n        shutil.copy(p, folder / f'data_batch_{n}.bin')\n"
        "    shutil.copy(p, folder / 'test_batch.bin')\n    return cifar10(Path('.'))",
        ".bin", lambda: (b"\x03" + b"\x07" * 3072) * 2,
    ),
}  # fmt: skip
SERVER = """
import json, os, resource, sys, warnings
os.environ["OMP_NUM_THREADS"] = "1"
warnings.simplefilter("ignore")
import matplotlib
matplotlib.use("agg")
{setup}
out = os.dup(1)
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
read(sys.argv[1])
own = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (own + (1 << 30), own + (1 << 30)))
os.write(out, b"ready\\n")
for line in sys.stdin:
    try:
        read(line.rstrip("\\n"))
        answer = ""
    except (ValueError, TypeError, OSError) as error:
        answer = "" if str(error).strip() else f"{{type(error).__name__}} says nothing"
    except SystemExit as error:
        answer = "" if error.code in (0, 1, 2) else f"exit {{error.code}}"
    except BaseException as error:
        answer = f"{{type(error).__name__}}: {{error}}"
    os.write(out, json.dumps(answer).encode() + b"\\n")
"""


class Reader:
    """A process that reads one file after another, and says what came of each."""

    def __init__(self, name, folder):
        setup, self.ending, make = READERS[name]
        self.folder, self.valid = folder, make()
        self.path = folder / f"file{self.ending}"
        self.program, self.process = SERVER.format(setup=setup), None

    def start(self):
        self.path.write_bytes(self.valid)
        self.process = subprocess.Popen(
            [sys.executable, "-c", self.program, self.path.name], cwd=self.folder,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert self.line() == b"ready\n", "the valid file is not read"

    def line(self):
        """A line of the process, within the patience that there is."""
        import select

        ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE)
        if not ready:
            self.stop()
            pytest.fail("the reader hangs")
        return self.process.stdout.readline()

    def __call__(self, content):
        """Fail unless the file is read, or refused with a reason."""
        if self.process is None:
            self.start()
        self.path.write_bytes(content)
        self.process.stdin.write(self.path.name.encode() + b"\n")
        self.process.stdin.flush()
        answer = self.line()
        if not answer:
            code = self.process.wait()
            self.stop()
            pytest.fail(f"the reader ended the process ({code})")
        assert json.loads(answer) == ""
        assert not (self.folder / "executed").exists(), "the file's code ran"

    def stop(self):
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
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
