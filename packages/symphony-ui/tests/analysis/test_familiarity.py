import builtins

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logsumexp
from scipy.stats import norm
from sklearn.mixture import GaussianMixture
from symphony_ui.analysis import Mixture, familiarity, project
from symphony_ui.analysis.familiarity import gaussian_mixture
from symphony_ui.errors import SymphonyError


def blobs(seed, rows=600, dim=6, classes=5, apart=6.0):
    random = np.random.default_rng(seed)
    member = np.arange(rows) % classes
    return apart * random.normal(size=(classes, dim))[member] + random.normal(
        size=(rows, dim)
    ), member


def mixture(seed, components, dim):
    random = np.random.default_rng(seed)
    weights = random.dirichlet(np.ones(components))
    means, variances = (
        random.normal(size=(components, dim)),
        random.gamma(2, size=(components, dim)),
    )
    return Mixture(weights, means, variances, None, True, 1)


@given(seed=st.integers(0, 2**31), components=st.integers(1, 6), dim=st.integers(1, 8))
def test_the_log_density_is_scipys(seed, components, dim):
    model = mixture(seed, components, dim)
    X = 3 * np.random.default_rng(seed).normal(size=(20, dim))
    each = [
        np.log(w) + norm.logpdf(X, m, np.sqrt(v)).sum(axis=1)
        for w, m, v in zip(model.weights, model.means, model.variances, strict=True)
    ]
    want = logsumexp(np.stack(each, axis=1), axis=1)
    assert model.score(X) == pytest.approx(want, rel=1e-12, abs=1e-10)


@given(seed=st.integers(0, 2**31), components=st.integers(1, 5))
def test_the_density_integrates_to_one(seed, components):
    model = mixture(seed, components, 1)
    x = np.linspace(-60, 60, 200_001)
    assert np.exp(model.score(x[:, None])).sum() * (x[1] - x[0]) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_equals_scikit_learns_mixture(scale):
    X, _ = blobs(0)
    ours = familiarity(X * scale).score
    theirs = GaussianMixture(5, covariance_type="diag", max_iter=200, random_state=0).fit(X)
    want = theirs.score_samples(X) - X.shape[1] * np.log(scale)
    assert np.abs(ours - want).max() < 1e-3


def test_the_bound_never_falls_from_iteration_to_iteration():
    X = np.random.default_rng(0).normal(size=(300, 4)) ** 3
    bounds = [gaussian_mixture(X, 5, 0, iterations).score(X) for iterations in range(1, 12)]
    assert (np.diff(bounds) > -1e-9).all()


def test_the_order_of_rows_does_not_matter():
    X, _ = blobs(1)
    order = np.random.default_rng(0).permutation(len(X))
    assert familiarity(X[order]).score == pytest.approx(familiarity(X).score[order], abs=1e-3)


@pytest.mark.parametrize("outliers", [1, 5, 20])
@pytest.mark.parametrize("distance", [15, 1000])
def test_planted_outliers_are_the_least_familiar(outliers, distance):
    random = np.random.default_rng(outliers)
    X, _ = blobs(2, rows=1000, dim=10)
    far = random.normal(size=(outliers, 10))
    rows = random.choice(1000, outliers, replace=False)
    X[rows] = distance * 3 * far / np.linalg.norm(far, axis=1, keepdims=True) + X.mean(axis=0)
    assert set(familiarity(X).least(outliers).tolist()) == set(rows.tolist())


def test_outliers_do_not_use_up_the_components():
    X, _ = blobs(7, rows=500)
    far = np.concatenate([X, 1e4 * np.eye(6)[:4]])
    found = familiarity(far)
    assert len(found.model.weights) == 5
    assert abs((found.score[:500] - familiarity(X).score).mean()) < 0.1


def test_wide_data_is_reduced_first_and_new_rows_take_the_same_way():
    X, _ = blobs(3, rows=200, dim=60)
    found = familiarity(X, reduce=10)
    assert found.model.means.shape[1] == 10
    assert found.model.score(X[:7]) == pytest.approx(found.score[:7], abs=1e-12)
    wide = familiarity(X[:50], reduce=60)
    assert wide.model.reduce is None


def test_each_label_has_a_mixture_of_its_own():
    X, member = blobs(4, rows=300, classes=3)
    labels = [["cat", "dog", None][m] for m in member]
    labels[:3] = ["eel"] * 3
    found = familiarity(X, by=labels)
    assert set(found.model) == {"cat", "dog"}
    assert found.skipped == {"eel": 3}
    unscored = np.isnan(found.score)
    assert unscored.tolist() == [name in (None, "eel") for name in labels]
    cats = np.array([name == "cat" for name in labels])
    assert found.score[cats] == pytest.approx(familiarity(X[cats]).score)
    assert "eel (3)" in str(found)
    assert len(found.least(10_000)) == (~unscored).sum()


def test_a_row_under_the_wrong_label_is_unfamiliar_there():
    X, member = blobs(5, rows=300, classes=2)
    member = member.copy()
    member[17] = 1 - member[17]
    assert familiarity(X, by=member).least(1).tolist() == [17]


def test_prints_and_gives_a_table():
    X, _ = blobs(6, rows=100)
    found = familiarity(X)
    assert str(found).startswith("familiarity of 100 of 100 rows, one model")
    table = found.to_table()
    assert table["rank"][found.least(1)[0]] == 0
    assert sorted(table["rank"]) == list(range(100))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"X": np.ones((10, 2))}, "got 5 for 1 in X"),
        ({"components": 0}, "components must be at least 1, got 0"),
        ({"reduce": 0}, "reduce must be at least 1"),
        ({"by": ["a"] * 3}, "by must have 60 entries, one a row, got 3"),
        ({"X": np.full((60, 2), np.nan)}, "must be finite"),
        ({"X": np.empty((0, 2))}, "got 5 for 0"),
    ],
)
def test_says_what_came_and_what_would_do(arguments, words):
    with pytest.raises(SymphonyError, match=words):
        familiarity(**{"X": blobs(0, rows=60)[0], **arguments})


def test_says_which_extra_is_missing(monkeypatch):
    real = builtins.__import__

    def without_sklearn(name, *rest):
        if name.startswith("sklearn"):
            raise ModuleNotFoundError(name)
        return real(name, *rest)

    monkeypatch.setattr("importlib.import_module", lambda name: without_sklearn(name) and None)
    for call in (familiarity, project):
        with pytest.raises(
            SymphonyError, match=r"needs scikit-learn: .* extra \[analysis\]"
        ) as raised:
            call(blobs(0, rows=60)[0])
        assert isinstance(raised.value, ImportError)
