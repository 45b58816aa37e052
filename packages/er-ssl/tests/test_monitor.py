import json
import warnings

import pytest
import torch
from er_ssl import (
    CollapseWarning,
    EntropyQueue,
    ERMonitor,
    effective_rank,
    embedding_std,
    er_bound,
    kde_entropy,
    plot_trace,
    read_trace,
)


def test_one_update_gives_the_terms_of_the_bound(rows):
    online, target = rows(0, 20, 6), rows(1, 20, 6)
    monitor = ERMonitor(kappa=5.0, leave_one_out=True)
    monitor.update(online.requires_grad_(), target)
    got = monitor.compute()
    forward = er_bound(online, target, kappa=5.0, leave_one_out=True)
    back = er_bound(target, online, kappa=5.0, leave_one_out=True)
    unit = online / online.norm(dim=1, keepdim=True)
    want = {
        "entropy_online": back.entropy,
        "entropy_target": forward.entropy,
        "reconstruction": forward.reconstruction,
        "bound": forward.bound,
        "ceiling": forward.ceiling,
        "entropy_floor": forward.entropy_floor,
        "entropy_ceiling": forward.entropy_ceiling,
        "level_online": back.level,
        "level_target": forward.level,
        "std_online": embedding_std(online),
        "effective_rank_online": effective_rank(unit),
        "updates": 1,
        "skipped": 0,
        "collapsed": False,
    }
    assert set(got) == set(want)
    for name, value in want.items():
        assert got[name] == pytest.approx(float(torch.as_tensor(value).detach())), name


def test_means_run_since_the_reset(rows):
    z = [rows(seed, 10, 4) for seed in range(4)]
    monitor, single = ERMonitor(), []
    for a, b in (z[:2], z[2:]):
        one = ERMonitor()
        one.update(a, b)
        single.append(one.compute()["bound"])
        monitor.update(a, b)
    assert monitor.compute()["bound"] == pytest.approx(sum(single) / 2)
    monitor.reset()
    monitor.update(*z[2:])
    assert monitor.compute()["bound"] == pytest.approx(single[1])


def test_the_alarm_sounds_once_at_collapse_and_is_silent_before(rows):
    monitor = ERMonitor(patience=2)
    for seed in range(5):
        monitor.update(rows(seed, 64, 32), rows(seed + 50, 64, 32))
    assert not monitor.collapsed
    point = rows(0, 64, 32, spread=0.01)
    monitor.update(point, point)
    assert not monitor.collapsed  # patience
    with pytest.warns(CollapseWarning, match=r"at 0\.\d% of the way.*alarm below 10%"):
        monitor.update(point, point)
    assert monitor.collapsed
    assert monitor.compute()["collapsed"] is True
    monitor.update(point, point)  # no second warning: warnings are errors here
    monitor.update(rows(0, 64, 32), rows(1, 64, 32))
    assert not monitor.collapsed


@pytest.mark.parametrize("which", [0, 1])
def test_either_branch_sounds_the_alarm(rows, which):
    branches = [rows(0, 64, 32), rows(1, 64, 32)]
    branches[which] = rows(2, 64, 32, spread=0.001)
    monitor = ERMonitor()
    with pytest.warns(CollapseWarning):
        monitor.update(*branches)


def test_values_that_are_not_finite_are_counted_and_left_out(rows):
    z = rows(0, 8, 4)
    monitor = ERMonitor()
    monitor.update(z, z * torch.nan)
    with pytest.raises(ValueError, match="1 skipped as not finite"):
        monitor.compute()
    monitor.update(z, z)
    assert monitor.compute()["skipped"] == 1
    assert monitor.compute()["updates"] == 1


def test_only_the_first_rows_of_a_large_batch_are_looked_at(rows):
    z1, z2 = rows(0, 50, 4), rows(1, 50, 4)
    small, whole = ERMonitor(max_rows=20), ERMonitor()
    small.update(z1, z2)
    whole.update(z1[:20], z2[:20])
    assert small.compute() == whole.compute()


def test_a_checkpoint_is_plain_numbers_and_goes_on_where_it_was(rows):
    first = ERMonitor(patience=2)
    point = rows(0, 8, 4, spread=0.001)
    first.update(rows(0, 8, 4), rows(1, 8, 4))
    first.update(point, point)
    second = ERMonitor(patience=2)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for monitor in (first, second):
        with pytest.warns(CollapseWarning):
            monitor.update(point, point)
    assert first.compute() == second.compute()
    third = ERMonitor(patience=2)
    third.load_state_dict(first.state_dict())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        third.update(point, point)  # warned before the checkpoint


@pytest.mark.parametrize("state", [{}, {"format": "er-ssl monitor", "version": 2}])
def test_a_foreign_checkpoint_is_refused(state):
    with pytest.raises(ValueError, match="state must be 'er-ssl monitor' version 1, got"):
        ERMonitor().load_state_dict(state)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda z: ERMonitor(kappa=0.0), "kappa must be positive"),
        (lambda z: ERMonitor(alarm_below=1.0), "alarm_below must be between 0 and 1, got 1.0"),
        (lambda z: ERMonitor(patience=0), "patience must be at least 1"),
        (lambda z: ERMonitor(max_rows=1), "max_rows at least 2"),
        (lambda z: ERMonitor().compute(), "no update to compute from"),
        (lambda z: ERMonitor().update(z, z[:2]), r"z_target \(2, 3\)"),
        (lambda z: ERMonitor().update(z[:1], z[:1]), "at least 2 rows, got 1"),
        (lambda z: EntropyQueue(0, 3), "size must be at least 1"),
        (lambda z: EntropyQueue(4, 3).enqueue(z[:, :2]), r"3 columns as the queue, got \(4, 2\)"),
    ],
)
def test_says_what_came_and_what_would_do(rows, call, message):
    with pytest.raises(ValueError, match=message):
        call(rows(0, 4, 3))


def test_a_trace_is_written_line_by_line_and_read_as_columns(rows, tmp_path):
    monitor, path = ERMonitor(), tmp_path / "trace.jsonl"
    written = []
    for step in range(3):
        monitor.update(rows(step, 8, 4), rows(step + 9, 8, 4))
        written.append(monitor.record(path, step=step))
    trace = read_trace(path)
    assert trace["step"] == [0, 1, 2]
    assert trace["bound"] == [line["bound"] for line in written]
    with open(path, "a") as file:
        file.write('{"step": 3, "bou')  # stopped while writing
    assert read_trace(path) == trace
    with pytest.raises(ValueError, match="no update"):  # record starts new means
        monitor.compute()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no record$"),
        ('{"step"', "only a line that breaks off"),
        ("not JSON\n", "line 1 is no JSON"),
        ('{"loss": 1}\n', "line 1 is no record of a monitor: no 'step'"),
        ("[1]\n", "line 1 is no record"),
    ],
)
def test_a_trace_that_is_none_is_refused_with_its_line(tmp_path, text, message):
    path = tmp_path / "trace.jsonl"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_trace(path)


def test_the_picture_has_the_curves_and_their_limits(rows, tmp_path):
    monitor, path = ERMonitor(), tmp_path / "trace.jsonl"
    for step in range(3):
        monitor.update(rows(step, 8, 4), rows(step + 9, 8, 4))
        monitor.record(path, step=10 * step)
    trace = read_trace(path)
    figure = plot_trace(trace, title="three steps")
    left, right = figure.axes
    assert figure.get_suptitle() == "three steps"
    drawn = {line.get_label(): list(line.get_ydata()) for line in (*left.lines, *right.lines)}
    assert drawn["online"] == trace["entropy_online"]
    assert drawn["floor: collapse"] == trace["entropy_floor"]
    assert drawn["reconstruction"] == trace["reconstruction"]
    assert drawn["ceiling of the bound"] == trace["ceiling"]
    assert list(left.lines[0].get_xdata()) == [0, 10, 20]


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"install er-ssl\[plot\]"):
        plot_trace({})


def test_a_queue_holds_the_latest_rows(rows):
    z = rows(0, 26, 3, dtype=torch.float32)
    unit = z / z.norm(dim=1, keepdim=True)
    queue = EntropyQueue(size=8, dim=3)
    assert queue.reference.shape == (0, 3)
    done = 0
    for batch in (3, 3, 5, 1, 11, 3):  # one of them is larger than the queue
        queue.enqueue(z[done : done + batch])
        done += batch
        latest = unit[max(0, done - 8) : done]
        held = queue.reference
        assert held.shape == latest.shape
        torch.testing.assert_close(held[held[:, 0].argsort()], latest[latest[:, 0].argsort()])


def test_a_queue_that_moves_on_does_not_disturb_a_graph(rows):
    queue = EntropyQueue(size=8, dim=3)
    queue.enqueue(rows(0, 8, 3))
    z = rows(1, 4, 3, dtype=torch.float32).requires_grad_()
    held = queue.reference
    before = held.clone()
    loss = -kde_entropy(z, kappa=5.0, reference=held)
    queue.enqueue(rows(2, 8, 3))
    loss.backward()
    assert torch.equal(held, before)
    assert z.grad.isfinite().all()


def test_a_queue_lets_a_small_batch_speak_for_a_large_sample(rows):
    # seed 0: 200 batches of 16 rows against a queue of 4,000 other rows, against all at once
    data = rows(0, 4000, 3, dtype=torch.float32) + torch.tensor([1.0, 0.0, 0.0])
    queue = EntropyQueue(size=4000, dim=3)
    queue.enqueue(data)
    fresh = rows(1, 3200, 3, dtype=torch.float32) + torch.tensor([1.0, 0.0, 0.0])
    batches = [kde_entropy(z, kappa=10.0, reference=queue.reference) for z in fresh.split(16)]
    large = kde_entropy(data, kappa=10.0, leave_one_out=True)
    assert float(torch.stack(batches).mean()) == pytest.approx(float(large), abs=0.03)
    own = [kde_entropy(z, kappa=10.0) for z in fresh.split(16)]  # the control
    assert float(torch.stack(own).mean()) < float(large) - 0.3


def test_a_queue_is_in_the_state_dict(rows):
    queue, copy = EntropyQueue(4, 3), EntropyQueue(4, 3)
    queue.enqueue(rows(0, 3, 3))
    copy.load_state_dict(queue.state_dict())
    assert torch.equal(copy.reference, queue.reference)


@pytest.mark.parametrize("torn", ["", "{", '{"step": 20, "entr', "x" * 9000])
def test_a_trace_goes_on_after_a_line_that_a_kill_cut_off(tmp_path, torn):
    monitor, path = ERMonitor(), tmp_path / "trace.jsonl"
    for step in (10, 20):
        monitor.update(torch.eye(4), torch.eye(4))
        monitor.record(path, step=step)
        if step == 10:
            path.write_text(path.read_text() + torn)
    assert read_trace(path)["step"] == [10, 20]
