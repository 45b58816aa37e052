import dataclasses
import json
import math
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from randaug_study.arms import Arm
from randaug_study.markdown import markdown
from randaug_study.report import NoGainWarning, Report, compare, differences
from randaug_study.stats import paired_ci
from randaug_study.study import Journal, Study
from randaug_study.training import Run

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "fashion_mnist"


def a_run(arm, seed, accuracy, *, scored=0, trained=10):
    return Run(arm, seed, accuracy, [1.0], 90.0, [], {}, [], [], scored, trained, trained, 1.0)


def a_study(seeds=10):
    arms = (
        Arm("none", "none"),
        Arm("random", "random"),
        Arm("worst", "worst", k=4),
        Arm("long", "random", epochs=3),
        Arm("far", "random"),
    )
    arms = (*arms[:2], dataclasses.replace(arms[2], equal_compute="long"), *arms[3:])
    return Study("a study", arms, tuple(range(seeds)))


def some_runs(means, seeds=10, noise=0.2):
    """Accuracies around a mean, and a part that the arms of a seed share."""
    rng = np.random.default_rng(0)
    shared = rng.normal(0, 3, seeds)
    return {
        (arm, seed): a_run(
            arm, seed, mean + shared[seed] + rng.normal(0, noise),
            scored=40 if arm == "worst" else 0,
        )
        for arm, mean in means.items()
        for seed in range(seeds)
    }  # fmt: skip


MEANS = {"none": 75.0, "random": 80.0, "worst": 80.1, "long": 80.0, "far": 77.0}


def test_verdicts_follow_the_differences_that_were_put_in():
    report = Report.of(a_study(), some_runs(MEANS))
    assert report.gain_is_shown
    assert {c.arm: c.verdict for c in report.comparisons} == {
        "worst": "equivalent",
        "long": "equivalent",
        "far": "below, random is not inferior",
    }
    assert [(c.arm, c.reference, c.verdict) for c in report.equal_compute] == [
        ("worst", "long", "equivalent")
    ]


def test_pairing_removes_what_the_arms_of_a_seed_share():
    report = Report.of(a_study(), some_runs(MEANS))
    worst = report.comparisons[0]
    assert worst.difference.sd < 0.5 < 2 < np.std(report.accuracies("random"))


def test_more_noise_leaves_the_question_open():
    report = Report.of(a_study(3), some_runs(MEANS, seeds=3, noise=1.0))
    assert report.comparisons[0].verdict == "open"
    assert report.needed["worst"][1] > 3


def test_warns_where_augmentation_does_not_help():
    with pytest.warns(NoGainWarning, match="random is not shown to be above none"):
        report = Report.of(a_study(), some_runs(MEANS | {"none": 80.0}))
    assert "**Warning: random - none" in markdown(report)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "Warning" not in markdown(Report.of(a_study(), some_runs(MEANS)))


def test_only_seeds_that_both_arms_have_are_compared():
    runs = some_runs(MEANS)
    del runs["worst", 4], runs["random", 7]
    assert len(differences(runs, "worst", "random")) == 8
    assert compare(runs, [("worst", "random")], 0.5)[0].difference.n == 8
    assert compare({}, [("worst", "random")], 0.5) == []


def test_p_values_are_adjusted_for_the_number_of_arms():
    runs = some_runs(MEANS)
    alone = compare(runs, [("worst", "random")], 0.5)[0]
    many = compare(runs, [("worst", "random"), ("long", "random"), ("far", "random")], 0.5)[0]
    assert many.p_difference >= alone.p_difference
    assert many.p_equivalence > alone.p_equivalence


def test_passes_count_a_backward_as_two_forwards():
    costs = Report.of(a_study(), some_runs(MEANS)).costs
    assert costs["worst"].passes == pytest.approx((40 + 3 * 10) / (3 * 10))
    assert costs["random"].passes == 1
    assert (costs["worst"].forwards, costs["worst"].backwards) == (50, 10)


def test_the_table_has_a_row_an_arm_and_the_csv_the_same():
    report = Report.of(a_study(), some_runs(MEANS))
    table = report.to_table()
    assert table["arm"] == list(MEANS)
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
    rows = {(c.arm, c.reference): c.difference for c in (*report.comparisons, *report.equal_compute)}
    rows[report.study.baseline, report.study.control] = report.control
    assert len(shown) == len(rows) >= 8
    for arm, reference, *numbers in shown:
        d = rows[arm, reference]
        want = [f"{d.n}", f"{d.mean:+.2f}", f"{d.low:+.2f}", f"{d.high:+.2f}"]
        assert numbers == want, (arm, reference)


def test_the_committed_journal_holds_every_arm_in_pairs_and_no_path():
    report = committed()
    text = (EXAMPLE / "runs.jsonl").read_text()
    assert "/" not in text
    assert len(text) < 1_000_000
    for line in text.splitlines():
        assert set(json.loads(line)) == {"stamp", "run"}
    for comparison in report.comparisons:
        assert comparison.difference.n >= 5
        assert paired_ci(
            differences(report.runs, comparison.arm, comparison.reference)
        ) == comparison.difference
