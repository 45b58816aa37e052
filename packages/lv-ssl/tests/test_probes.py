import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lv_ssl import (
    Normal,
    cosine_neighbours,
    hamming_knn,
    linear_probe,
    pack_bits,
    regression_probe,
    vote,
)
from sklearn.linear_model import LogisticRegression, Ridge


def clusters(seed, n=300, dim=6, classes=3, noise=0.7):
    g = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, dim, generator=g, dtype=torch.float64)
    y = torch.randint(0, classes, (n,), generator=g)
    return centres[y] + noise * torch.randn(n, dim, generator=g, dtype=torch.float64), y


@pytest.mark.parametrize("l2", [1e-3, 1e-1])
def test_the_linear_probe_is_scikit_learns_logistic_regression(l2):
    x, y = clusters(0)
    ours = linear_probe(x, y, l2=l2)
    z = ((x - x.mean(0)) / x.std(0, correction=0)).numpy()
    theirs = LogisticRegression(C=1 / (l2 * len(x)), tol=1e-10, max_iter=10_000).fit(z, y)
    want = theirs.predict_proba(z)
    assert np.allclose(ours.log_probs(x).exp().numpy(), want, atol=1e-4)
    assert ours.accuracy(x, y) == pytest.approx(theirs.score(z, y))


def test_a_constant_feature_and_a_missing_class_do_no_harm():
    x, y = clusters(1)
    x = torch.cat([x, torch.full((len(x), 1), 5.0)], 1).float()
    probe = linear_probe(x, y, classes=7)
    assert probe.log_probs(x).shape == (300, 7)
    assert probe.log_probs(x).isfinite().all()
    assert probe.weight.dtype == torch.float32


def test_probabilities_are_averaged_over_samples_and_not_logits(seeded):
    x, y = clusters(2)
    probe = linear_probe(x, y)
    q = Normal(x, torch.ones_like(x))
    samples = q.rsample(8, generator=seeded())
    each = torch.stack([probe.log_probs(z).exp() for z in samples])
    got = probe.marginal(samples)
    torch.testing.assert_close(got, each.mean(0))
    torch.testing.assert_close(got.sum(1), torch.ones(300, dtype=torch.float64))
    assert got.max(1).values.mean() < probe.log_probs(x).exp().max(1).values.mean()


@given(seed=st.integers(0, 2**31), n=st.integers(2, 30), data=st.data())
def test_cosine_neighbours_are_those_of_a_sort(seed, n, data):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 4, generator=g, dtype=torch.float64)
    k = data.draw(st.integers(1, n - 1))
    cosines = torch.nn.functional.cosine_similarity(x[:, None], x[None], dim=2)
    want = cosines.fill_diagonal_(-9).argsort(1, descending=True)[:, :k]
    assert torch.equal(cosine_neighbours(x, x, k, leave_out_self=True), want)


def test_neighbours_are_left_out_beyond_the_first_block():
    x = torch.randn(1200, 8, generator=torch.Generator().manual_seed(0))
    got = cosine_neighbours(x, x, 1, leave_out_self=True)[:, 0]
    assert (got != torch.arange(1200)).all()
    assert torch.equal(cosine_neighbours(x, x, 1)[:, 0], torch.arange(1200))


def test_a_vote_is_the_commonest_label_and_takes_both_kinds_of_neighbours():
    labels = torch.tensor([2, 0, 0, 1, 1])
    assert vote(torch.tensor([[0, 1, 2], [1, 3, 4], [1, 3, 0]]), labels).tolist() == [0, 1, 0]
    codes = pack_bits(np.eye(5, 8))
    near = hamming_knn(codes, codes, 1).indices
    assert torch.equal(vote(near, labels), labels)


@pytest.mark.parametrize("penalty", [0.5, 30.0])
def test_the_regression_probe_is_scikit_learns_ridge(penalty):
    x, _ = clusters(3)
    y = x @ torch.randn(6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    z = ((x - x.mean(0)) / x.std(0, correction=0)).numpy()
    theirs = Ridge(alpha=penalty).fit(z, y.numpy())
    ours = regression_probe(x, y, penalty=penalty)
    assert np.allclose(ours.predict(x).numpy(), theirs.predict(z))
    r2 = ours.r2(x, y)
    assert sum(r2) / 2 == pytest.approx(theirs.score(z, y.numpy()))
    assert regression_probe(x, y[:, 0]).r2(x, y[:, 0])[0] > 0.99
    noise = torch.randn(300, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert regression_probe(x, noise).r2(x, noise)[0] < 0.1  # the control


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, y: linear_probe(x, y[:5]), r"labels must be \(300,\) of int64, got \(5,\)"),
        (lambda x, y: linear_probe(x, y.float()), "float32"),
        (lambda x, y: linear_probe(x, y, classes=2), "labels must be in 0 to 1"),
        (lambda x, y: linear_probe(x, y - 1), "labels must be in 0 to 1, got -1"),
        (lambda x, y: linear_probe(x, y, l2=-1.0), "l2 must be at least 0"),
        (lambda x, y: cosine_neighbours(x, x[:, :3], 1), "equal columns, got 6 and 3"),
        (lambda x, y: cosine_neighbours(x, x, 301), "k must be in 1 to 300, got 301"),
        (lambda x, y: regression_probe(x, x[:4]), "equal rows"),
        (lambda x, y: regression_probe(x, x, penalty=-1.0), "penalty must be at least 0"),
    ],
)
def test_says_what_came_and_what_would_do(call, message):
    with pytest.raises(ValueError, match=message):
        call(*clusters(0))
