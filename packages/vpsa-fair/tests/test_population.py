import numpy as np
import pytest
from vpsa_fair.errors import DataError
from vpsa_fair.population import Population, cleaned


def test_missing_labels_become_unknown_and_nobody_is_dropped():
    some = Population.of(
        ["a", "b", "c", "d", "a"], {"tone": [None, float("nan"), " ", "x", "y "]}, list("qrstq")
    )
    assert some.names.tolist() == ["a", "b", "c", "d"]
    assert some.groups["tone"].tolist() == ["y", "unknown", "unknown", "x"]
    assert some.image.tolist() == [0, 1, 2, 3, 0]
    assert len(some) == 5


def test_two_labels_of_one_identity_are_named():
    with pytest.raises(DataError, match="identity 'a' has two labels of 'tone', 'x' and 'y'"):
        Population.of(["a", "b", "a"], {"tone": ["x", "x", "y"]})


def test_lengths_and_missing_identities_are_named():
    with pytest.raises(DataError, match="'tone' must have 2 labels, got 1"):
        Population.of(["a", "b"], {"tone": ["x"]})
    with pytest.raises(DataError, match="image 1 has no identity"):
        Population.of(["a", None])
    with pytest.raises(DataError, match="each of 1 images, got 2"):
        Population.of(["a"], None, [b"1", b"2"])


def test_crossed_labels_are_joined_as_the_counts_join_them():
    some = Population.of(["a", "b"], {"tone": ["x", "y"], "age": ["1", "2"]})
    assert some.labels(("tone", "age")).tolist() == ["x x 1", "y x 2"]
    assert some.labels("tone x age").tolist() == ["x x 1", "y x 2"]


def test_keeping_some_images_keeps_their_identities_only():
    some = Population.of(["a", "b", "c", "b"], {"tone": ["x", "y", "z", "y"]})
    kept = some.keep(np.array([False, True, True, True]))
    assert kept.names.tolist() == ["b", "c"]
    assert kept.identity.tolist() == [0, 1, 0]
    assert kept.groups["tone"].tolist() == ["y", "z"]


def test_sums_are_of_identities():
    some = Population.of(["a", "b", "a"])
    assert some.per_identity(np.array([1, 2, 4])).tolist() == [5, 2]


def test_labels_are_text_without_blanks():
    assert cleaned(np.array([1, 2])).tolist() == ["1", "2"]
    assert cleaned([" a ", None, np.nan, 3]).tolist() == ["a", "", "", "3"]
