"""The C kernel: it is there, it is right, it can be done without."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import deeppcr
import pytest
import torch
from deeppcr import affine_scan, kernel

COMPILER = shutil.which(os.environ.get("CC", "cc"))
WANTED = os.environ.get("DEEPPCR_KERNEL", "1") != "0"
needs_kernel = pytest.mark.skipif(not COMPILER or not WANTED, reason="no compiler, or not wanted")


def fresh(code, **environment):
    """Standard output of a Python of its own."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env=os.environ | environment,
    )  # fmt: skip
    return done.stdout.strip()


@needs_kernel
def test_the_kernel_is_loaded_where_a_compiler_exists():
    assert kernel.library() is not None
    for dtype in (torch.float32, torch.float64):
        assert kernel.takes(torch.zeros(1, dtype=dtype))
    assert not kernel.takes(torch.zeros(1, dtype=torch.complex64))


@needs_kernel
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("d", [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 16, 21, 32, 40])
@pytest.mark.parametrize("kind", ["dense", "diagonal", "scalar"])
def test_equals_the_loop_at_every_width(system, loop, d, kind, dtype):
    A, b, z0 = system(13, d, (3,), kind=kind, dtype=torch.float64, start=True)
    for reverse in (False, True):
        want = loop(A, b, z0, reverse=reverse)
        for blocks in (A, A.mT.contiguous().mT) if kind == "dense" else (A,):
            got = kernel.solve(
                blocks.to(dtype), b.to(dtype), z0.to(dtype), reverse=reverse, adjoint=False
            )
            assert got.dtype == dtype
            bound = 1e-5 if dtype == torch.float32 else 1e-13
            assert (got.double() - want).norm() < bound * want.norm()


@needs_kernel
def test_the_adjoint_reads_the_blocks_shifted_and_transposed(system, loop):
    A, b, _ = system(13, 5, (2,))
    for reverse in (False, True):
        shifted = torch.roll(A.mT, 1 if reverse else -1, 0)
        want = loop(shifted, b, reverse=not reverse)
        got = kernel.solve(A, b, None, reverse=reverse, adjoint=True)
        torch.testing.assert_close(got, want)


@needs_kernel
@pytest.mark.parametrize("kind", ["dense", "diagonal", "scalar"])
@pytest.mark.parametrize("batch", [(), (7,)])
def test_threads_share_the_work_and_change_no_bit(monkeypatch, system, kind, batch):
    d = 50 if kind != "dense" else 6
    A, b, z0 = system(40, d, batch, kind=kind, dtype=torch.float32, start=True)
    for start in (z0, None):
        alone = kernel.solve(A, b, start, reverse=True, adjoint=False)
        monkeypatch.setattr(kernel, "WORTH_A_THREAD", 8)
        torch.set_num_threads(3)
        try:
            shared = kernel.solve(A, b, start, reverse=True, adjoint=False)
        finally:
            torch.set_num_threads(1)
            monkeypatch.undo()
        assert torch.equal(shared, alone)


@needs_kernel
def test_infinities_and_nans_come_out_as_the_loop_has_them(loop):
    values = torch.tensor([0.0, -0.0, 1.0, float("inf"), -float("inf"), float("nan")])
    g = torch.Generator().manual_seed(0)
    draw = torch.randint(0, 6, (2000, 6), generator=g)
    A, b = values[draw[:, :4]].view(-1, 1, 2, 2).movedim(0, 1), values[draw[:, 4:]][None]
    A, b = A.repeat(3, 1, 1, 1), b.repeat(3, 1, 1)
    for method in ("serial", "pcr", "oddeven", "chunked"):
        got, want = affine_scan(A, b, method=method), loop(A, b)
        torch.testing.assert_close(got[:2], want[:2], equal_nan=True)
        assert not (got.isfinite() & ~want.isfinite()).any(), method


def test_without_the_kernel_everything_is_still_there():
    code = """
import torch, deeppcr
from deeppcr import kernel
assert kernel.library() is None
A, b = torch.rand(50, 4, 4).double() / 4, torch.rand(50, 4).double()
A.requires_grad_()
z = b[0]
for l in range(1, 50):
    z = A[l] @ z + b[l]
states = deeppcr.affine_scan(A, b)
torch.testing.assert_close(states[-1], z)
(want,) = torch.autograd.grad(z.sum(), A)
(got,) = torch.autograd.grad(states[-1].sum(), A)
torch.testing.assert_close(got, want)
print("fine")
"""
    assert fresh(code, DEEPPCR_KERNEL="0") == "fine"


@pytest.mark.parametrize("content", [None, b"", b"not a library"])
def test_a_missing_or_broken_library_is_left_aside(tmp_path, monkeypatch, content):
    monkeypatch.setattr(kernel, "__file__", str(tmp_path / "kernel.py"))
    monkeypatch.delenv("DEEPPCR_KERNEL", raising=False)
    if content is not None:
        (tmp_path / "_kernel.so").write_bytes(content)
    assert kernel.library.__wrapped__() is None


@pytest.mark.skipif(not COMPILER, reason="no compiler")
def test_a_library_of_another_version_is_left_aside(tmp_path, monkeypatch):
    source = tmp_path / "stale.c"
    source.write_text("int deeppcr_abi(void) { return -1; }")
    target = tmp_path / "_kernel.so"
    subprocess.run([COMPILER, "-shared", "-fPIC", source, "-o", target], check=True)
    monkeypatch.setattr(kernel, "__file__", str(tmp_path / "kernel.py"))
    monkeypatch.delenv("DEEPPCR_KERNEL", raising=False)
    assert kernel.library.__wrapped__() is None


@pytest.mark.skipif(not COMPILER, reason="no compiler")
def test_the_source_compiles_without_a_warning():
    source = Path(deeppcr.__file__).with_name("_kernel.c")
    flags = ["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only"]
    subprocess.run([COMPILER, *flags, source], check=True)


def test_importing_the_package_imports_no_torch_and_builds_nothing():
    code = "import sys, deeppcr; print('torch' in sys.modules, 'subprocess' in sys.modules)"
    assert fresh(code) == "False False"


def test_threads_that_solve_at_the_same_time_do_not_meet(system):
    systems = [system(60, 5, (3,), seed=seed, start=True) for seed in range(8)]
    wants = [affine_scan(*given) for given in systems]

    def work(i):
        with deeppcr.explain() as log:
            same = all(torch.equal(affine_scan(*systems[i]), wants[i]) for _ in range(50))
        return same, len(log.decisions)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [(True, 50)] * 8


@pytest.mark.slow
def test_importing_every_name_takes_little_beside_torch():
    code = """
import time, torch
began = time.process_time()
from deeppcr import *
print(time.process_time() - began)
"""
    assert min(float(fresh(code)) for _ in range(5)) < 0.15
