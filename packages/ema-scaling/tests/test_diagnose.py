import itertools
import json
import math
import random

import pytest
import torch
from ema_scaling import ModelEMA, Recorder, compare, load_runs
from ema_scaling.files import append_rows, read_rows
from hypothesis import given
from hypothesis import strategies as st
from torch import nn


def runs(seeds, shift=0.0, noise=0.1, step=10):
    """Curves 1 / (1 + n / 100) + a level of each seed's own."""
    out = []
    for seed in seeds:
        level = random.Random(seed).gauss(0, noise)
        rows = range(0, 1001, step)
        out.append([{"samples": n, "loss": 1 / (1 + n / 100) + level + shift} for n in rows])
    return out


def test_runs_of_one_law_match_and_shifted_ones_do_not():
    base = runs(range(5))
    assert compare(base, runs(range(20, 25)), "loss").verdict == "match"
    far = compare(base, runs(range(5, 10), shift=1.0), "loss")
    assert far.verdict == "apart"
    assert far.p_value == pytest.approx(2 / math.comb(10, 5))
    low, high = far.interval
    assert low < far.mean_gap < high
    assert low > 0
    between = compare(base, runs(range(5), shift=0.2), "loss")
    assert between.verdict == "unclear"


@given(shift=st.floats(-5, 5), spread=st.floats(0.01, 1))
def test_a_constant_shift_is_measured_in_the_given_spread(shift, spread):
    report = compare(runs([0]), runs([0], shift=shift), "loss", spread=spread)
    assert report.ratio == pytest.approx(abs(shift) / spread, rel=1e-6, abs=1e-9)
    assert report.mean_gap == pytest.approx(shift, abs=1e-9)
    assert report.max_gap == pytest.approx(abs(shift), abs=1e-9)


@given(seed=st.integers(0, 1000))
def test_swapping_the_sides_turns_the_gap_and_keeps_the_rest(seed):
    a, b = runs(range(seed, seed + 3)), runs(range(seed + 3, seed + 7), shift=0.1)
    one, two = compare(a, b, "loss"), compare(b, a, "loss")
    assert one.mean_gap == pytest.approx(-two.mean_gap)
    assert one.ratio == pytest.approx(two.ratio)
    assert one.p_value == pytest.approx(two.p_value)
    assert one.verdict == two.verdict


def test_curves_on_unlike_grids_are_compared_at_equal_samples():
    """A straight line looks the same however coarsely it was sampled."""
    line = [[{"samples": n, "loss": 2 * n} for n in range(0, 101, step)] for step in (1, 20)]
    report = compare([line[0]], [line[1]], "loss", spread=1.0)
    assert report.max_gap == pytest.approx(0, abs=1e-9)
    assert len(report.samples) == 101
    late = compare([line[0]], [line[1]], "loss", spread=1.0, start=50)
    assert late.samples[0] == 50


def test_the_spread_is_the_pooled_one_within_the_groups():
    a = [[{"samples": 0, "loss": x}] for x in (0.0, 2.0)]
    b = [[{"samples": 0, "loss": x}] for x in (10.0, 14.0, 12.0)]
    report = compare(a, b, "loss")
    pooled = math.sqrt((2 + 8) / 3)  # sums of squares over degrees of freedom
    assert report.spread == pytest.approx((pooled,))
    assert report.ratio == pytest.approx(11 / pooled)
    assert report.p_value == pytest.approx(1 / math.comb(5, 2))


def test_many_runs_are_relabelled_at_random_and_repeatably():
    a, b = runs(range(9)), runs(range(20, 29))
    first, second = compare(a, b, "loss", seed=1), compare(a, b, "loss", seed=1)
    assert first == second
    assert 0.001 < first.p_value <= 1


def test_false_alarms_are_rare_and_a_gap_is_found():
    """200 comparisons of one law, 4 seeds a side: p below 0.05 in at most 10 %; control above."""
    hits = misses = 0
    for trial in range(200):
        a = runs(range(1000 * trial, 1000 * trial + 4), step=500)
        b = runs(range(1000 * trial + 4, 1000 * trial + 8), step=500)
        hits += compare(a, b, "loss").p_value < 0.05
        misses += compare(a, runs(range(4), shift=0.5, step=500), "loss").p_value >= 0.05
    assert hits <= 20
    assert misses <= 20


def test_one_law_in_six_is_called_unclear_with_five_seeds_a_side():
    """300 comparisons of one law: the README's figure, 0.15 by Student's t, within 0.06."""
    draw = random.Random(0)

    def group():
        return [[{"samples": 0, "loss": draw.gauss(0, 1)}] for _ in range(5)]

    verdicts = [compare(group(), group(), "loss").verdict for _ in range(300)]
    assert verdicts.count("unclear") / 300 == pytest.approx(0.153, abs=0.06)
    assert verdicts.count("apart") <= 4


def test_what_cannot_be_compared_says_why():
    base = runs([0, 1])
    with pytest.raises(ValueError, match="have no spread over seeds: give two seeds or more"):
        compare(runs([0]), runs([1]), "loss")
    with pytest.raises(ValueError, match="both sides need runs, got 0 and 2"):
        compare([], base, "loss")
    with pytest.raises(ValueError, match="run 0 of the first side has no row with both 'samples'"):
        compare(base, base, "accuracy")
    late = [[{"samples": 5000 + n, "loss": 1.0} for n in range(9)]] * 2
    with pytest.raises(ValueError, match="the runs share no count of samples from 5000 to 1000"):
        compare(base, late, "loss")
    with pytest.raises(ValueError, match="loss of run 1 of the second side must be finite"):
        compare(base, [base[0], [{"samples": 1, "loss": math.nan}]], "loss")
    with pytest.raises(ValueError, match="0 < match_at <= apart_at, got 3 and 1"):
        compare(base, base, "loss", match_at=3, apart_at=1)


def test_runs_are_loaded_from_files_and_split_by_seed(tmp_path):
    rows = [
        json.dumps({"samples": n, "loss": float(n + s), "seed": s})
        for n, s in itertools.product(range(3), (1, 2))
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(rows) + "\n")
    (tmp_path / "b.jsonl").write_text('{"samples": 0, "loss": 1}\n{"samples": 1, "lo')
    assert [len(run) for run in load_runs(tmp_path)] == [3, 3, 1]
    assert len(load_runs(tmp_path / "a.jsonl")) == 2
    (tmp_path / "c.jsonl").write_text("[1]\n")
    with pytest.raises(ValueError, match=r"c\.jsonl, line 1 is no JSON object"):
        load_runs(tmp_path)
    (tmp_path / "c.jsonl").write_text('{"a": \n{}\n')
    with pytest.raises(ValueError, match=r"c\.jsonl, line 1 is no JSON"):
        load_runs(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no rows"):
        load_runs(tmp_path / "empty")


def test_a_report_is_a_sentence_and_a_table():
    report = compare(runs(range(3)), runs(range(3)), "loss")
    assert str(report).startswith("match: loss differs by 0.00 seed spreads")
    assert report.ratio == 0
    lengths = {len(column) for column in report.to_table().values()}
    assert lengths == {len(report.samples)}


def test_the_recorder_writes_where_model_and_average_stand(tmp_path, move):
    model = nn.Linear(3, 2)
    ema = ModelEMA(model, 0.5, batch=4)
    recorder = Recorder(tmp_path / "run.jsonl", ema, projections=2, tags={"seed": 7})
    for loss in (1.0, 0.5):
        move(model)
        ema.update()
        row = recorder.record(loss=loss)
    stored = [json.loads(line) for line in (tmp_path / "run.jsonl").read_text().splitlines()]
    assert stored[-1] == row
    assert [r["samples"] for r in stored] == [4, 8]
    assert row["seed"] == 7
    flat = torch.cat([p.detach().flatten() for p in model.parameters()])
    assert row["model_norm"] == pytest.approx(float(flat.norm()), rel=1e-6)
    assert row["distance"] == pytest.approx(ema.lag().distance, rel=1e-6)
    # projections are linear, and the same for every recorder of the same seed
    again = Recorder(tmp_path / "other.jsonl", ema, projections=2).record()
    assert (again["model_0"], again["ema_1"]) == (row["model_0"], row["ema_1"])
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(2)
    doubled = Recorder(tmp_path / "third.jsonl", ema, projections=2).record()
    assert doubled["model_0"] == pytest.approx(2 * row["model_0"], rel=1e-5)


@pytest.mark.parametrize(
    ("end", "kept"),
    [("", 2), ('{"samples": 2, "lo', 2), ("{", 2), ("x" * 9000, 2), ('{"samples": 2}', 3)],
)
def test_rows_are_appended_after_a_line_that_a_kill_cut_off(tmp_path, end, kept):
    path = tmp_path / "run.jsonl"
    path.write_text('{"samples": 1}\n' + end)
    append_rows(path, [{"samples": 3}])
    rows = list(read_rows(path))
    assert (rows[0], rows[-1], len(rows)) == ({"samples": 1}, {"samples": 3}, kept)


def test_rows_begin_a_file_that_is_not_there(tmp_path):
    append_rows(tmp_path / "run.jsonl", [{"samples": 1}, {"samples": 2}])
    assert [row["samples"] for row in read_rows(tmp_path / "run.jsonl")] == [1, 2]
