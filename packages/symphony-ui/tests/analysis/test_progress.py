import sys
import threading

import numpy as np
import pytest
from symphony_ui.analysis import _progress
from symphony_ui.analysis._progress import own_threads, spread


@pytest.fixture(params=[1, 3])
def threads(request):
    return request.param


@pytest.mark.parametrize("blas", [1, 3])
def test_as_many_threads_as_blas_had_and_blas_is_held_meanwhile(monkeypatch, blas):
    control = pytest.importorskip("threadpoolctl")
    monkeypatch.setattr(_progress.os, "cpu_count", lambda: 8)
    np.ones((2, 2)) @ np.ones((2, 2))

    def counts():
        return {p["num_threads"] for p in control.threadpool_info() if p["user_api"] == "blas"}

    with control.threadpool_limits(blas, "blas"):
        with own_threads() as threads:
            assert threads == blas
            assert counts() == {1}
        assert counts() == {blas}


def test_without_threadpoolctl_there_is_one_thread(monkeypatch):
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    with own_threads() as threads:
        assert threads == 1


def test_results_come_in_order_from_as_many_threads_as_asked_for(threads):
    seen = set()
    barrier = threading.Barrier(threads, timeout=20)

    def work(item):
        if item < threads:
            barrier.wait()  # passed only if so many run at once
        seen.add(threading.get_ident())
        return item * item

    assert list(spread(work, range(50), "squares", threads=threads)) == [i * i for i in range(50)]
    assert len(seen) <= threads


def test_work_stops_soon_after_the_first_error(threads):
    done = []

    def work(item):
        done.append(item)
        if item == 5:
            raise ValueError("five")
        return item

    with pytest.raises(ValueError, match="five"):
        list(spread(work, range(10_000), "numbers", threads=threads))
    assert len(done) < 100


@pytest.mark.parametrize("tqdm", [True, False])
def test_a_bar_is_shown_only_where_there_is_a_terminal(monkeypatch, capsys, tqdm):
    if not tqdm:
        monkeypatch.setitem(sys.modules, "tqdm", None)
    assert list(spread(abs, [-1, 2], "numbers")) == [1, 2]
    assert capsys.readouterr() == ("", "")
