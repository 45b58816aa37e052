import json
import math
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from randaug_study.markdown import markdown
from randaug_study.report import NoGainWarning, Report, compare, differences
from randaug_study.stats import paired_ci
from randaug_study.study import Journal, Study

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "fashion_mnist"


def test_verdicts_follow_the_differences_that_were_put_in(a_study, some_runs, means):
    report = Report.of(a_study(), some_runs(means))
    assert report.gain_is_shown
    assert {c.arm: c.verdict for c in report.comparisons} == {
        "worst": "equivalent",
        "long": "equivalent",
        "far": "below, random is not inferior",
    }
    assert [(c.arm, c.reference, c.verdict) for c in report.equal_compute] == [
        ("worst", "long", "equivalent")
    ]


def test_pairing_removes_what_the_arms_of_a_seed_share(a_study, some_runs, means):
    report = Report.of(a_study(), some_runs(means))
    worst = report.comparisons[0]
    assert worst.difference.sd < 0.5 < 2 < np.std(report.accuracies("random"))


def test_more_noise_leaves_the_question_open(a_study, some_runs, means):
    report = Report.of(a_study(3), some_runs(means, seeds=3, noise=1.0))
    assert report.comparisons[0].verdict == "open"
    assert report.needed["worst"][1] > 3


def test_warns_where_augmentation_does_not_help(a_study, some_runs, means):
    with pytest.warns(NoGainWarning, match="random is not shown to be above none"):
        report = Report.of(a_study(), some_runs(means | {"none": 80.0}))
    assert "**Warning: random - none" in markdown(report)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "Warning" not in markdown(Report.of(a_study(), some_runs(means)))


def test_only_seeds_that_both_arms_have_are_compared(some_runs, means):
    runs = some_runs(means)
    del runs["worst", 4], runs["random", 7]
    assert len(differences(runs, "worst", "random")) == 8
    assert compare(runs, [("worst", "random")], 0.5)[0].difference.n == 8
    assert compare({}, [("worst", "random")], 0.5) == []


def test_p_values_are_adjusted_for_the_number_of_arms(some_runs, means):
    runs = some_runs(means)
    alone = compare(runs, [("worst", "random")], 0.5)[0]
    many = compare(runs, [("worst", "random"), ("long", "random"), ("far", "random")], 0.5)[0]
    assert many.p_difference >= alone.p_difference
    assert many.p_equivalence > alone.p_equivalence


def test_passes_count_a_backward_as_two_forwards(a_study, some_runs, means):
    costs = Report.of(a_study(), some_runs(means)).costs
    assert costs["worst"].passes == pytest.approx((40 + 3 * 10) / (3 * 10))
    assert costs["random"].passes == 1
    assert (costs["worst"].forwards, costs["worst"].backwards) == (50, 10)


def test_the_table_has_a_row_an_arm_and_the_csv_the_same(a_study, some_runs, means):
    report = Report.of(a_study(), some_runs(means))
    table = report.to_table()
    assert table["arm"] == list(means)
    assert {len(column) for column in table.values()} == {5}
    assert math.isnan(table["difference"][0])
    assert report.to_csv().count("\n") == 6
    assert "worst - random: " in str(report)


def committed():
    study = Study.from_toml(EXAMPLE / "study.toml")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the control must be positive
        return Report.of(study, Journal(EXAMPLE / "runs.jsonl").runs(study))


def test_the_committed_report_is_that_of_the_committed_journal():
    report = committed()
    assert (EXAMPLE / "report.md").read_text() == markdown(report)
    assert (EXAMPLE / "summary.csv").read_text() == report.to_csv()


def test_the_readme_says_what_the_committed_journal_gives():
    report = committed()
    readme = (ROOT / "README.md").read_text()
    shown = re.findall(
        r"^\| ([\w-]+) - ([\w-]+) \| (\d+) \| ([+-][\d.]+) \[([+-][\d.]+), ([+-][\d.]+)\] \|",
        readme, re.M,
    )  # fmt: skip
    rows = {
        (c.arm, c.reference): c.difference for c in (*report.comparisons, *report.equal_compute)
    }
    rows[report.study.baseline, report.study.control] = report.control
    assert len(shown) == len(rows) >= 8
    for arm, reference, *numbers in shown:
        d = rows[arm, reference]
        want = [f"{d.n}", f"{d.mean:+.2f}", f"{d.low:+.2f}", f"{d.high:+.2f}"]
        assert numbers == want, (arm, reference)
    last = [run.controller[-1] for run in report.runs.values() if run.controller]
    drift = f"to {sum(last) / len(last):.2f} in the mean of {len(last)} runs "
    assert f"{drift}({min(last):.2f} to {max(last):.2f})" in readme


def test_the_committed_journal_holds_every_arm_in_pairs_and_no_path():
    report = committed()
    text = (EXAMPLE / "runs.jsonl").read_text()
    assert "/" not in text
    assert len(text) < 1_000_000
    for line in text.splitlines():
        assert set(json.loads(line)) == {"stamp", "run"}
    for comparison in report.comparisons:
        assert comparison.difference.n >= 5
        assert (
            paired_ci(differences(report.runs, comparison.arm, comparison.reference))
            == comparison.difference
        )
