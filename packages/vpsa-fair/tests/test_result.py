"""A result saves itself whole, loads back equal, and its tables go where tables go."""

import csv
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from vpsa_fair import Counts, DataError, Result, Table


def make(make_counts, **how):
    counts = make_counts(measures=("genuine", "impostor"), order={"impostor": 2}, chance=0.5)
    strip = np.random.default_rng(0).integers(0, 255, (4, 6, 5, 3), dtype=np.uint8)
    settings = {"n_boot": 60, "seed": 3, "meta": {"model": "m"}, "examples": {"blur": strip}, **how}
    return Result(counts, ("tone", ("tone", "sex")), **{"min_identities": 2, **settings})


def test_what_is_saved_is_what_is_loaded(make_counts, tmp_path):
    res = make(make_counts)
    res.save(tmp_path / "run")
    back = Result.load(tmp_path / "run")
    assert back.settings == res.settings
    assert back.grouping_names == res.grouping_names
    assert back.meta == res.meta
    np.testing.assert_array_equal(back.examples["blur"], res.examples["blur"])
    assert back.curves.to_csv() == res.curves.to_csv()
    assert str(back) == str(res)


def test_the_same_result_gives_the_same_bytes(make_counts, tmp_path):
    for name in "ab":
        make(make_counts).save(tmp_path / name)
        make(make_counts).report(tmp_path / name / "report.html")
    files = sorted(p.name for p in (tmp_path / "a").iterdir())
    assert files == [
        "counts.npz", "curves.csv", "examples.npz", "matrix.csv", "report.html", "result.json",
        "stats.json", "targeted.csv",
    ]  # fmt: skip
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_another_seed_moves_intervals_and_no_estimate(make_counts):
    a, b = make(make_counts), make(make_counts, seed=4)
    np.testing.assert_array_equal(a.matrix().value, b.matrix().value)
    assert (a.matrix().low != b.matrix().low).any()


def test_curves_are_one_row_a_group_perturbation_and_level(make_counts):
    table = make(make_counts).curves
    assert len(table) == 4 * 2 * 4 + 7 * 2 * 4  # (3 + overall), (3 x 2 + overall)
    first = next(iter(table))
    assert first["level"] == 0 == first["position"]
    mean = (table["genuine"] + table["impostor"]) / 2
    np.testing.assert_allclose(table["response"], mean)
    assert (table["low"] <= table["response"]).all()


def test_every_table_has_columns_of_one_length(make_counts):
    res = make(make_counts)
    for part in (res, res.curves, res.matrix(), res.pairwise("blur"), res.targeted(),
                 res.summary(), res.spread()):  # fmt: skip
        table = part.to_table()
        assert len({len(column) for column in table.values()}) == 1


def test_csv_json_and_parquet_hold_the_same_numbers(make_counts, tmp_path):
    table = make(make_counts).curves
    table.to_csv(tmp_path / "c.csv")
    table.to_json(tmp_path / "c.json")
    table.to_parquet(tmp_path / "c.parquet")
    with (tmp_path / "c.csv").open() as file:
        rows = list(csv.DictReader(file))
    loaded = json.loads((tmp_path / "c.json").read_text())
    stored = pq.read_table(tmp_path / "c.parquet").to_pydict()
    for name in ("response", "low", "position"):
        want = table[name].tolist()
        assert [float(row[name]) for row in rows] == want
        assert loaded[name] == want == stored[name]


def test_a_missing_number_is_empty_in_csv_and_null_in_json(tmp_path):
    table = Table({"name": ["a", "b"], "x": [float("nan"), float("inf")]})
    assert table.to_csv() == "name,x\na,\nb,inf\n"
    assert json.loads(table.to_json()) == {"name": ["a", "b"], "x": [None, None]}
    assert "-" in str(table)
    with pytest.raises(KeyError, match="'y'"):
        table["y"]
    with pytest.raises(ValueError, match="one length"):
        Table({"a": [1], "b": []})


def test_parquet_without_pyarrow_says_what_to_install(make_counts, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"vpsa-fair\[parquet\]"):
        make(make_counts).curves.to_parquet(tmp_path / "x.parquet")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["result.json", "counts.npz", "examples.npz"])
def test_a_damaged_folder_is_named(make_counts, tmp_path, name):
    make(make_counts).save(tmp_path)
    whole = (tmp_path / name).read_bytes()
    for damage in (b"", b"{", whole[: len(whole) // 2]):
        (tmp_path / name).write_bytes(damage)
        with pytest.raises(DataError, match=str(tmp_path)):
            Result.load(tmp_path)


def test_a_result_of_a_later_version_is_refused(make_counts, tmp_path):
    make(make_counts).save(tmp_path)
    header = json.loads((tmp_path / "result.json").read_text())
    (tmp_path / "result.json").write_text(json.dumps({**header, "version": 99}))
    with pytest.raises(DataError, match="99"):
        Result.load(tmp_path)
    with pytest.raises(DataError, match="no result"):
        Result.load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ({"n_boot": 1}, "n_boot"),
        ({"confidence": 1.0}, "confidence"),
        ({"interval": "exact"}, "'exact'"),
        ({"min_identities": 0}, "min_identities"),
    ],
)
def test_settings_without_sense_are_refused(make_counts, how, text):
    with pytest.raises(ValueError, match=text):
        make(make_counts, **how)


def test_an_attribute_that_is_not_there_is_named(make_counts):
    with pytest.raises(ValueError, match="'age'"):
        Result(make_counts(), ("age",))


def test_clean_counts_alone_have_a_matrix_a_summary_and_a_page(make_counts, tmp_path):
    base = make_counts()
    counts = Counts(
        base.identity,
        base.groups,
        base.cells[:1],
        {"correct": base.hits["correct"][:, :1]},
        {"correct": base.trials["correct"][:, :1]},
    )
    res = Result(counts, ("tone",), n_boot=40)
    assert res.matrix(margins=True).columns == ("clean", "mean")
    assert len(res.targeted()) == len(res.curves) == 0
    assert [s.column for s in res.summary()] == ["clean", "mean"]
    res.save(tmp_path)
    res.report(tmp_path / "report.html")
    assert str(Result.load(tmp_path)) == str(res)


def test_a_save_that_was_cut_off_is_not_taken_for_a_result(make_counts, tmp_path, monkeypatch):
    from vpsa_fair import result as module

    old, new = make(make_counts), make(lambda **how: make_counts(seed=9, **how), examples={})
    old.save(tmp_path)

    def cut(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "_write_json", cut)
        with pytest.raises(KeyboardInterrupt):
            new.save(tmp_path)
    with pytest.raises(DataError, match=r"counts\.npz is of another run than result\.json"):
        Result.load(tmp_path)
    new.save(tmp_path)
    assert Result.load(tmp_path).examples == {}  # those of the old one lie there still
