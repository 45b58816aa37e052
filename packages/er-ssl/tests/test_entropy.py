import math

import pytest
import torch
from er_ssl import (
    effective_rank,
    embedding_std,
    entropy_limits,
    er_bound,
    gaussian_entropy,
    infonce_bound,
    kde_entropy,
    plugin_entropy,
    vmf_log_normalizer,
)
from hypothesis import given
from hypothesis import strategies as st


def looped_entropy(z, kappa, leave_one_out=False, reference=None, estimator="joe"):
    """Joe's estimator, density by density."""
    z = [row / row.norm() for row in z]
    kernels = z if reference is None else [row / row.norm() for row in reference]
    log_c = float(vmf_log_normalizer(len(z[0]), kappa))
    logs = []
    for i, row in enumerate(z):
        others = [k for j, k in enumerate(kernels) if not (leave_one_out and i == j)]
        density = sum(math.exp(kappa * float(row @ k) + log_c) for k in others) / len(others)
        logs.append(math.log(density))
    if estimator == "joe":
        return -sum(logs) / len(logs)
    total = sum(math.exp(log) for log in logs)
    return -sum(math.exp(log) / total * log for log in logs)


@given(
    n=st.integers(2, 9),
    d=st.integers(2, 8),
    kappa=st.floats(0.1, 30),
    leave_one_out=st.booleans(),
    estimator=st.sampled_from(["joe", "plugin"]),
    seed=st.integers(0, 2**31),
)
def test_equals_the_definition_density_by_density(
    rows, n, d, kappa, leave_one_out, estimator, seed
):
    z = rows(seed, n, d, scale=3.0)
    got = kde_entropy(z, kappa=kappa, leave_one_out=leave_one_out, estimator=estimator)
    want = looped_entropy(z, kappa, leave_one_out, estimator=estimator)
    assert float(got) == pytest.approx(want, rel=1e-9, abs=1e-9)


@given(n=st.integers(1, 7), m=st.integers(1, 7), seed=st.integers(0, 2**31))
def test_other_rows_can_carry_the_kernels(rows, n, m, seed):
    z, reference = rows(seed, n, 4), rows(seed + 1, m, 4)
    got = float(kde_entropy(z, kappa=5.0, reference=reference))
    assert got == pytest.approx(looped_entropy(z, 5.0, reference=reference))


def test_the_scale_of_a_row_does_not_matter(rows):
    z = rows(0, 8, 4)
    stretched = z * torch.arange(1, 9, dtype=torch.float64)[:, None]
    assert float(kde_entropy(stretched, kappa=9.0)) == pytest.approx(
        float(kde_entropy(z, kappa=9.0))
    )


@pytest.mark.parametrize("estimator", ["joe", "plugin"])
@pytest.mark.parametrize("leave_one_out", [False, True])
def test_gradients_pass_gradcheck_also_in_kappa(rows, estimator, leave_one_out):
    z = rows(0, 6, 3).requires_grad_()
    kappa = torch.tensor(4.0, dtype=torch.float64, requires_grad=True)

    def f(z, kappa):
        return kde_entropy(z, kappa=kappa, estimator=estimator, leave_one_out=leave_one_out)

    assert torch.autograd.gradcheck(f, (z, kappa))


def test_a_mixed_call_keeps_the_embeddings_dtype(rows):
    z = rows(0, 6, 3, dtype=torch.float32)
    assert kde_entropy(z, kappa=3.0, reference=rows(1, 9, 3)).dtype == torch.float32
    assert kde_entropy(z.half(), kappa=3.0).dtype == torch.float32


@given(rows_=st.integers(2, 9), m=st.integers(2, 9), seed=st.integers(0, 2**31))
def test_the_discrete_entropy_equals_its_definition(rows, rows_, m, seed):
    logits = 3 * rows(seed, rows_, m)
    p = logits.softmax(1)
    mean = [float(p[:, c].mean()) for c in range(m)]
    want = -sum(x * math.log(x) for x in mean)
    assert float(plugin_entropy(p)) == pytest.approx(want)
    assert float(plugin_entropy(logits, logits=True)) == pytest.approx(want)


def test_a_cluster_that_nobody_uses_costs_nothing_and_has_a_gradient():
    p = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    assert float(plugin_entropy(p)) == 0.0  # not -1e-7


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda z: kde_entropy(z[0], kappa=1.0), r"z must be \(B, D\)"),
        (lambda z: kde_entropy(z[:1], kappa=1.0, leave_one_out=True), r"B >= 2.*\(1, 3\)"),
        (lambda z: kde_entropy(z[:, :1], kappa=1.0), r"D >= 2.*\(4, 1\)"),
        (lambda z: kde_entropy(z, kappa=-1.0), "kappa must be positive and finite, got -1.0"),
        (lambda z: kde_entropy(z, kappa=1.0, estimator="kl"), "'joe', 'plugin', got 'kl'"),
        (lambda z: kde_entropy(z, kappa=1.0, reference=z, leave_one_out=True), "reference=None"),
        (lambda z: kde_entropy(z, kappa=1.0, reference=z[:, :2]), r"\(4, 3\) and \(4, 2\)"),
        (lambda z: plugin_entropy(z + 1), "p must hold probabilities.*logits=True"),
        (lambda z: plugin_entropy(z - z + torch.nan), "p must hold probabilities"),
        (lambda z: er_bound(z, z[:2]), r"z1 \(4, 3\), z2 \(2, 3\)"),
        (lambda z: er_bound(z[:1], z[:1]), "at least 2 rows, got 1"),
        (lambda z: er_bound(z, z, kappa=0.0), "kappa must be positive"),
        (lambda z: infonce_bound(z[:0], z[:0]), r"B >= 1"),
        (lambda z: entropy_limits(1, 3, kappa=1.0), "rows must be at least 2"),
        (lambda z: gaussian_entropy(z[:1]), r"B >= 2"),
        (lambda z: gaussian_entropy(z, ridge=-1.0), "ridge must be at least 0, got -1.0"),
        (lambda z: er_bound(z, z.to("meta")), "z1 on cpu, z2 on meta"),
    ],
)
def test_says_what_came_and_what_would_do(rows, call, message):
    with pytest.raises(ValueError, match=message):
        call(rows(0, 4, 3))


@pytest.mark.parametrize(
    "call", [lambda z: kde_entropy(z, kappa=1.0), plugin_entropy, effective_rank]
)
def test_refuses_integers(call):
    with pytest.raises(TypeError, match=r"floating tensor, got torch.int64: use \w+.float\(\)"):
        call(torch.ones(3, 3, dtype=torch.long))


@given(n=st.integers(2, 9), d=st.integers(2, 9), seed=st.integers(0, 2**31))
def test_the_bound_of_infonce_equals_its_definition(rows, n, d, seed):
    z1, z2 = rows(seed, n, d), rows(seed + 1, n, d)
    a, b = ([row / row.norm() for row in z] for z in (z1, z2))
    want = math.log(n)
    for i in range(n):
        weights = [math.exp(6.0 * float(a[i] @ other)) for other in b]
        want += math.log(weights[i] / sum(weights)) / n
    assert float(infonce_bound(z1, z2, kappa=6.0)) == pytest.approx(want)


def test_the_trusted_bound_equals_the_normalised_one_on_unit_rows(rows):
    z1, z2 = (z / z.norm(dim=1, keepdim=True) for z in (rows(0, 6, 4), rows(1, 6, 4)))
    want = float(er_bound(z1, z2).bound)
    assert float(er_bound(z1, z2, normalize=False).bound) == pytest.approx(want)
    assert er_bound(100 * z1, 100 * z2, normalize=False).bound.isfinite()


def test_terms_read_as_a_sentence_and_as_a_table(rows):
    z = rows(0, 6, 4).requires_grad_()
    terms = er_bound(z, z, kappa=5.0)
    assert str(terms).startswith(f"I >= {float(terms.bound.detach()):.3f} nats (entropy ")
    table = terms.to_table()
    assert table["term"][:3] == ["entropy", "reconstruction", "bound"]
    assert table["nats"][2] == pytest.approx(table["nats"][0] + table["nats"][1])
    assert len(table["nats"]) == len(table["term"]) == 6
    assert 0 < terms.level < 1


def test_the_effective_rank_counts_equal_directions():
    assert float(effective_rank(torch.diag(torch.tensor([2.0, 2.0, 2.0, 0.0])))) == pytest.approx(3)
    assert float(effective_rank(torch.zeros(3, 3))) == 1.0
    shares = torch.tensor([0.75, 0.25])
    want = math.exp(-sum(s * math.log(s) for s in shares.tolist()))
    assert float(effective_rank(torch.diag(shares))) == pytest.approx(want)


def test_the_spread_of_even_directions_is_one(rows):
    assert float(embedding_std(rows(0, 20_000, 8))) == pytest.approx(1, abs=0.02)
    assert float(embedding_std(rows(0, 500, 8, spread=1e-9))) == pytest.approx(0, abs=1e-6)


def test_the_gaussian_entropy_has_its_closed_form(rows):
    z = rows(0, 4000, 3) * torch.tensor([1.0, 2.0, 0.5])
    want = 1.5 * math.log(2 * math.pi * math.e) + math.log(1.0 * 2.0 * 0.5)
    assert float(gaussian_entropy(z)) == pytest.approx(want, abs=0.05)  # 4,000 draws, seed 0
    assert float(gaussian_entropy(torch.ones(4, 3))) == -math.inf
    assert gaussian_entropy(torch.ones(4, 3), ridge=1e-3).isfinite()
