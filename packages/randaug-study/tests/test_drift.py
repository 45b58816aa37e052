import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).parents[1] / "examples" / "drift"


@pytest.fixture(scope="module")
def drift():
    spec = importlib.util.spec_from_file_location("drift", FOLDER / "drift.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def rows():
    return [json.loads(line) for line in (FOLDER / "drift.jsonl").read_text().splitlines()]


def test_the_committed_table_is_made_of_the_committed_journal(drift, rows):
    assert (FOLDER / "drift.md").read_text() == drift.table(rows) + "\n"
    assert len(rows) == 10 * len(drift.ARMS)
    assert {(row["arm"], row["seed"]) for row in rows} == {
        (arm, seed) for arm in drift.ARMS for seed in range(10)
    }


def test_what_the_readme_says_of_the_drift_holds_for_every_seed(rows):
    at = {updates: i for i, updates in enumerate(rows[0]["updates"])}
    for row in rows:
        entropy = row["entropy"]
        assert entropy[at[50]] > 0.999
        if row["arm"].endswith("shuffled"):
            assert min(entropy) > 0.999
        else:
            assert entropy[at[500]] < 0.6


def test_a_journal_is_gone_on_with_and_the_first_updates_are_repeated(
    drift, rows, tmp_path, monkeypatch
):
    monkeypatch.setattr(drift, "UPDATES", (0, 2))
    monkeypatch.setattr(drift, "ARMS", {"noise .02": (0.02, False)})
    threads = torch.get_num_threads()
    journal, table = tmp_path / "drift.jsonl", tmp_path / "drift.md"
    for seeds in "1", "2":
        monkeypatch.setattr(
            sys, "argv",
            ["drift.py", "--journal", str(journal), "--table", str(table), "--seeds", seeds],
        )  # fmt: skip
        drift.main()
    torch.set_num_threads(threads)
    found = [json.loads(line) for line in journal.read_text().splitlines()]
    assert [row["seed"] for row in found] == [0, 1]
    committed = [row for row in rows if row["arm"] == "noise .02"]
    for mine, theirs in zip(found, committed, strict=False):
        assert mine["entropy"][0] == pytest.approx(theirs["entropy"][0], abs=1e-6)
    assert table.read_text().startswith("| loss | seeds |")
