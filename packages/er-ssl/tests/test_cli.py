import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from er_ssl import ERMonitor, effective_rank, er_bound
from er_ssl.cli import main
from er_ssl.npy import read_npy


@pytest.fixture
def pair(rows, tmp_path):
    z = [rows(seed, 30, 8, dtype=torch.float32) for seed in range(2)]
    paths = [tmp_path / f"z{k}.npy" for k in range(2)]
    for path, view in zip(paths, z, strict=True):
        np.save(path, view.numpy())
    return z, [str(path) for path in paths]


def test_measure_prints_the_bound_and_its_limits(pair, capsys):
    z, paths = pair
    assert main(["measure", *paths, "--kappa", "5", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    want = er_bound(*z, kappa=5.0)
    assert report["bound"] == pytest.approx(float(want.bound))
    assert report["entropy_z1"] == pytest.approx(float(want.entropy))
    assert report["entropy_z0"] == pytest.approx(float(er_bound(*z[::-1], kappa=5.0).entropy))
    assert report["reconstruction"] == pytest.approx(float(want.reconstruction))
    assert report["bound_ceiling"] == pytest.approx(want.ceiling)
    assert report["effective_rank_z1"] == pytest.approx(float(effective_rank(z[1])))
    assert report["rows"] == 30
    assert main(["measure", *paths, "--leave-one-out"]) == 0
    text = capsys.readouterr().out
    assert f"{float(er_bound(*z, leave_one_out=True).bound):.4f}" in text
    assert "bound ceiling" in text


def test_plot_writes_the_same_picture_twice(rows, tmp_path, capsys):
    monitor, trace = ERMonitor(), tmp_path / "trace.jsonl"
    for step in range(2):
        monitor.update(rows(step, 8, 4), rows(step + 9, 8, 4))
        monitor.record(trace, step=step)
    out = tmp_path / "out.svg"
    pictures = []
    for _ in range(2):
        assert main(["plot", str(trace), "-o", str(out), "--title", "two steps"]) == 0
        pictures.append(out.read_text())
    assert pictures[0] == pictures[1]
    assert "<svg" in pictures[0]
    assert main(["plot", str(trace), "-o", str(tmp_path / "out.png")]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"trace.jsonl", "out.svg", "out.png"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["measure", "missing.npy", "missing.npy"], "No such file"),
        (["measure", "text.npy", "text.npy"], "text.npy is no .npy file"),
        (["measure", "ok.npy", "short.npy"], r"z1 (3, 4)"),
        (["measure", "ok.npy", "flat.npy"], "must hold (N, D) embeddings, got (4,)"),
        (["measure", "ok.npy", "nan.npy"], "1 rows with values that are not finite"),
        (["measure", "ok.npy", "ok.npy", "--kappa", "-1"], "kappa must be positive"),
        (["plot", "text.npy", "-o", "out.svg"], "line 1 is no JSON"),
        (["plot", "trace.jsonl", "-o", "out.xyz"], "xyz"),
        (["plot", "trace.jsonl", "-o", "none/out.svg"], "No such file"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_code_2(
    tmp_path, monkeypatch, capsys, arguments, message
):
    monkeypatch.chdir(tmp_path)
    np.save("ok.npy", np.ones((5, 4)))
    np.save("short.npy", np.ones((3, 4)))
    np.save("flat.npy", np.ones(4))
    np.save("nan.npy", np.array([[1.0, np.nan], [1.0, 1.0]]))
    Path("text.npy").write_text("neither\n")
    line = {"step": 0, "bound": 0, "ceiling": 0, "reconstruction": 0}
    line |= {f"entropy_{name}": 0 for name in ("online", "target", "floor", "ceiling")}
    Path("trace.jsonl").write_text(json.dumps(line) + "\n")
    before = set(tmp_path.iterdir())
    assert main(arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("er-ssl: ")
    assert output.err.count("\n") == 1
    assert message in output.err
    assert set(tmp_path.iterdir()) == before  # nothing half-written


def test_unknown_arguments_exit_with_2(capsys):
    with pytest.raises(SystemExit) as error:
        main(["train"])
    assert error.value.code == 2
    assert "er-ssl" in capsys.readouterr().err


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8"])
@pytest.mark.parametrize("shape", [(), (0, 3), (5,), (4, 3), (2, 3, 4)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_reads_what_numpy_writes(tmp_path, dtype, shape, order):
    array = np.asarray(np.random.default_rng(0).normal(size=shape), dtype, order=order)
    np.save(tmp_path / "z.npy", array)
    got = read_npy(tmp_path / "z.npy")
    assert got.shape == shape
    assert np.array_equal(got.numpy(), array)


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_reads_every_version_of_the_format(tmp_path, version):
    with open(tmp_path / "z.npy", "wb") as file:
        np.lib.format.write_array(file, np.eye(3), version=version)
    assert torch.equal(read_npy(tmp_path / "z.npy"), torch.eye(3, dtype=torch.float64))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([{"a": 1}], dtype=object), r"holds '\|O'"),
        (np.ones(3, dtype=np.int64), "holds '<i8'; save float16, float32 or float64"),
        (np.ones(3, dtype=">f4"), "other byte order"),
        (np.zeros(2, dtype=[("x", "f4")]), "holds records"),
    ],
)
def test_never_unpickles_and_says_what_it_holds(tmp_path, array, message):
    np.save(tmp_path / "z.npy", array)
    with pytest.raises(ValueError, match=message):
        read_npy(tmp_path / "z.npy")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:-1], "has 71 bytes of data, its shape needs 72"),
        (lambda data: data + b"x", "has 73 bytes of data"),
        (lambda data: data[:8], "is no .npy file"),
        (lambda data: data[:6] + b"\x04" + data[7:], "version 4"),
        (lambda data: data.replace(b"'shape'", b"'shapf'"), "header that cannot be read"),
        (lambda data: data.replace(b"(3, 3)", b"(3,-3)"), "has the shape"),
        (lambda data: data.replace(b"(3, 3)", b"(3,+1j"), "header that cannot be read"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, change, message):
    np.save(tmp_path / "z.npy", np.eye(3))
    path = tmp_path / "damaged.npy"
    path.write_bytes(change((tmp_path / "z.npy").read_bytes()))
    with pytest.raises(ValueError, match=message):
        read_npy(path)


def test_only_torch_is_needed_and_the_import_is_light():
    code = """
import sys, time, torch
before, start = set(sys.modules), time.process_time()
import er_ssl, er_ssl.cli
took = time.process_time() - start
new = {name.split(".")[0] for name in set(sys.modules) - before}
print(took, *sorted(new - set(sys.stdlib_module_names)))
"""
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True) for _ in "ab"
    ]
    took, *new = runs[-1].stdout.split()  # the second has byte code
    assert new == ["er_ssl"]
    assert float(took) < 0.1
