import sys
import threading

import pytest
from symphony_ui.analysis import _progress
from symphony_ui.analysis._progress import spread


@pytest.fixture(params=["one thread", "threads", "no threadpoolctl"])
def threads(request, monkeypatch):
    pytest.importorskip("threadpoolctl")
    count = 1 if request.param == "one thread" else 3
    pools = [{"user_api": "blas", "num_threads": count}]
    monkeypatch.setattr("threadpoolctl.threadpool_info", lambda: pools)
    monkeypatch.setattr(_progress.os, "cpu_count", lambda: 8)
    if request.param == "no threadpoolctl":
        monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    return count if request.param == "threads" else 1


def test_results_come_in_order_from_as_many_threads_as_blas_has(threads):
    seen = set()
    barrier = threading.Barrier(threads, timeout=20)

    def work(item):
        if item < threads:
            barrier.wait()  # passed only if so many run at once
        seen.add(threading.get_ident())
        return item * item

    assert list(spread(work, range(50), "squares")) == [i * i for i in range(50)]
    assert len(seen) <= threads


def test_work_stops_soon_after_the_first_error(threads):
    done = []

    def work(item):
        done.append(item)
        if item == 5:
            raise ValueError("five")
        return item

    with pytest.raises(ValueError, match="five"):
        list(spread(work, range(10_000), "numbers"))
    assert len(done) < 100


@pytest.mark.parametrize("tqdm", [True, False])
def test_a_bar_is_shown_only_where_there_is_a_terminal(monkeypatch, capsys, tqdm):
    if not tqdm:
        monkeypatch.setitem(sys.modules, "tqdm", None)
    assert list(spread(abs, [-1, 2], "numbers")) == [1, 2]
    assert capsys.readouterr() == ("", "")
