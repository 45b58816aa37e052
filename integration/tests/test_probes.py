import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tenfold.probes import Accuracy, knn_probe, linear_probe


def clusters(n, seed, spread=0.1):
    g = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 3
    return torch.eye(3, 5)[labels] + spread * torch.randn(n, 5, generator=g), labels


@pytest.mark.parametrize("probe", [linear_probe, knn_probe])
def test_separate_clusters_are_told_apart(probe):
    x, labels = clusters(90, 0)
    test, test_labels = clusters(60, 1)
    assert probe(x, labels, test, test_labels).value == 1


@pytest.mark.parametrize("probe", [linear_probe, knn_probe])
def test_shuffled_labels_are_at_chance(probe):
    x, labels = clusters(900, 0)
    shuffled = labels[torch.randperm(900, generator=torch.Generator().manual_seed(2))]
    test, test_labels = clusters(600, 1)
    assert probe(x, shuffled, test, test_labels).value < 0.5


def test_the_linear_probe_is_ridge_regression_on_one_hot_labels():
    x, labels = clusters(200, 5, spread=1.5)
    test, test_labels = clusters(400, 6, spread=1.5)
    mean, std = x.double().mean(0), x.double().std(0, correction=0)
    a, b = (x - mean) / std, (test - mean) / std
    ones = torch.ones(200, 1, dtype=torch.float64)
    targets = torch.cat([torch.eye(3)[labels], torch.zeros(5, 3)]).double()
    for ridge in (1e-3, 3.0):
        penalty = (ridge * 200) ** 0.5 * torch.eye(5, 6, dtype=torch.float64)  # no bias in it
        design = torch.cat([torch.cat([a, ones], 1), penalty])
        weights = torch.linalg.lstsq(design, targets).solution
        answers = (b @ weights[:5] + weights[5]).argmax(1)
        want = int((answers == test_labels).sum())
        assert linear_probe(x, labels, test, test_labels, ridge=ridge) == Accuracy(want, 400)


def test_the_neighbour_probe_is_the_vote_of_the_nearest_by_angle():
    x, labels = clusters(60, 7, spread=1.0)
    test, test_labels = clusters(40, 8, spread=1.0)
    right = 0
    for row, label in zip(test, test_labels, strict=True):
        angles = [float(row @ other / (row.norm() * other.norm())) for other in x]
        nearest = sorted(range(60), key=lambda i: -angles[i])[:7]
        votes = [sum(int(labels[i]) == c for i in nearest) for c in range(3)]
        right += votes.index(max(votes)) == int(label)
    assert knn_probe(x, labels, test, test_labels, k=7) == Accuracy(right, 40)


@given(shift=st.floats(-100, 100), scale=st.floats(0.01, 100))
def test_the_linear_probe_does_not_see_shift_or_scale(shift, scale):
    x, labels = clusters(90, 3, spread=0.7)
    test, test_labels = clusters(60, 4, spread=0.7)
    plain = linear_probe(x.double(), labels, test.double(), test_labels)
    moved = linear_probe(
        x.double() * scale + shift, labels, test.double() * scale + shift, test_labels
    )
    assert plain == moved


def test_a_dead_feature_does_no_harm():
    x, labels = clusters(90, 0)
    dead = torch.cat([x, torch.full((90, 1), 3.0)], 1)
    assert linear_probe(dead, labels, dead, labels) == linear_probe(x, labels, x, labels)


def test_the_interval_is_wilsons():
    low, high = Accuracy(8, 10).interval
    assert (low, high) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)


def test_neighbours_must_be_there():
    x, labels = clusters(9, 0)
    with pytest.raises(ValueError, match="between 1 and 9, got 20"):
        knn_probe(x, labels, x, labels)
