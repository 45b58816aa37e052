import importlib
import subprocess
import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits
from symphony_ui.analysis import analyze, confusion, duplicates, familiarity, project
from symphony_ui.errors import ColumnError


def table(rows=120):
    random = np.random.default_rng(0)
    label = np.array(["a", "b"])[np.arange(rows) % 2]
    emb = random.normal(size=(rows, 6)) + 4 * (np.arange(rows) % 2)[:, None]
    emb[5] = emb[3]
    return {"id": np.arange(rows), "emb": emb, "label": label, "pred": label[::-1].copy()}


def test_adds_the_columns_that_the_reference_reads():
    given = table()
    found = analyze(given, embedding="emb", label="label", pred="pred")
    out = found.to_table()
    assert list(out) == [
        *given,
        "projection_emb_x",
        "projection_emb_y",
        "familiarity_emb",
        "splitFamiliarity_emb_byAttr_label",
        "duplicates_emb",
    ]
    assert {len(values) for values in out.values()} == {120}
    assert out["projection_emb_y"].tolist() == project(given["emb"])[:, 1].tolist()
    assert out["familiarity_emb"].tolist() == familiarity(given["emb"]).score.tolist()
    split = familiarity(given["emb"], by=given["label"]).score
    assert out["splitFamiliarity_emb_byAttr_label"].tolist() == split.tolist()
    assert out["duplicates_emb"].tolist() == duplicates(given["emb"]).group.tolist()
    assert found.confusion is not None
    assert np.array_equal(found.confusion.counts, confusion(given["label"], given["pred"]).counts)
    assert list(given) == ["id", "emb", "label", "pred"]
    assert "near duplicates" in str(found)


def test_takes_lists_of_vectors_objects_with_a_table_and_several_layers():
    class Result:
        def to_table(self):
            return {"one": list(table()["emb"]), "two": table()["emb"].tolist()}

    out = analyze(Result(), embedding=["one", "two"]).to_table()
    assert out["familiarity_one"].tolist() == out["familiarity_two"].tolist()


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_takes_data_frames(library):
    frames = pytest.importorskip(library)
    pytest.importorskip("narwhals")
    rows = table()["emb"].tolist()
    out = analyze(frames.DataFrame({"emb": rows, "n": range(120)}), embedding="emb").to_table()
    assert out["n"].tolist() == list(range(120))
    assert out["familiarity_emb"] == pytest.approx(familiarity(table()["emb"]).score)


def test_says_which_column_is_no_embedding():
    with pytest.raises(ColumnError, match=r"'id' must hold vectors of one length, got \(\)"):
        analyze(table(), embedding="id")
    with pytest.raises(ColumnError, match=r"got \(1,\), \(2,\)"):
        analyze({"e": [[1.0], [1.0, 2.0]]}, embedding="e")
    with pytest.raises(ColumnError, match="no column 'x'"):
        analyze(table(), embedding="x")
    with pytest.raises(ColumnError, match="no column 'truth'"):
        analyze(table(), embedding="emb", label="truth")


def test_real_digits_hold_planted_copies_and_no_invented_ones():
    digits = load_digits()
    random = np.random.default_rng(0)
    copies = digits.data[:20] + random.normal(size=(20, 64)) * 0.1
    X = np.concatenate([digits.data, copies])
    found = duplicates(X, metric="euclidean")
    assert found.elbow
    assert found.pairs.tolist() == [[i, 1797 + i] for i in range(20)]
    assert not duplicates(digits.data, metric="euclidean").elbow


def test_importing_the_analyses_imports_numpy_only():
    heavy = ["sklearn", "scipy", "narwhals", "pandas", "tqdm", "umap"]
    code = f"import sys, symphony_ui.analysis; print([m for m in {heavy} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_every_public_name_is_documented_with_an_example_or_is_a_result():
    module = importlib.import_module("symphony_ui.analysis")
    for name in module.__all__:
        text = getattr(module, name).__doc__
        assert text
        assert name[0].isupper() or ">>> " in text
