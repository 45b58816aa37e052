import math

import pytest
import torch
from er_ssl import DiscreteERLoss, DistillationERLoss, ERLoss, NTXentLoss, vmf_log_normalizer
from hypothesis import given
from hypothesis import strategies as st

SEED = st.integers(0, 2**31)


def looped_nt_xent(z1, z2, temperature):
    """The definition, row by row."""
    z = [row / row.norm() for row in torch.cat([z1, z2])]
    n, total = len(z1), 0.0
    for i, anchor in enumerate(z):
        weights = [math.exp(float(anchor @ z[j]) / temperature) for j in range(2 * n) if j != i]
        positive = float(anchor @ z[(i + n) % (2 * n)]) / temperature
        total -= positive - math.log(sum(weights))
    return total / (2 * n)


def looped_entropy(z, kappa, leave_one_out):
    z = [row / row.norm() for row in z]
    total = 0.0
    for i, row in enumerate(z):
        kernels = [
            math.exp(kappa * float(row @ other))
            for j, other in enumerate(z)
            if not (leave_one_out and i == j)
        ]
        total -= math.log(sum(kernels) / len(kernels))
    return total / len(z)


def mean_cosine(z1, z2):
    pairs = zip(z1, z2, strict=True)
    return sum(float(a @ b / (a.norm() * b.norm())) for a, b in pairs) / len(z1)


@given(n=st.integers(2, 9), d=st.integers(2, 12), temperature=st.floats(0.05, 2), seed=SEED)
def test_nt_xent_equals_the_definition_row_by_row(rows, n, d, temperature, seed):
    z1, z2 = rows(seed, n, d, scale=5.0), rows(seed + 1, n, d)
    want = looped_nt_xent(z1, z2, temperature)
    assert float(NTXentLoss(temperature)(z1, z2)) == pytest.approx(want, abs=1e-9)
    got = NTXentLoss(temperature)(z1.float(), z2.float())
    assert float(got) == pytest.approx(want, rel=1e-4, abs=1e-5)


def test_nt_xent_equals_the_dense_form_over_many_blocks_in_value_and_gradient(rows):
    z1, z2 = (rows(seed, 600, 16).requires_grad_() for seed in (0, 1))
    z = torch.nn.functional.normalize(torch.cat([z1, z2]))
    logits = (z @ z.T / 0.1).fill_diagonal_(-torch.inf)
    want = torch.nn.functional.cross_entropy(logits, torch.arange(1200).roll(600))
    got = NTXentLoss(0.1)(z1, z2)
    assert float(got.detach()) == pytest.approx(float(want.detach()), abs=1e-12)
    for mine, theirs in zip(
        torch.autograd.grad(got, (z1, z2)), torch.autograd.grad(want, (z1, z2)), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-14)


def test_nt_xent_equals_lightlys_in_float32(rows):
    theirs = pytest.importorskip("lightly.loss", reason="lightly is in the bench group")
    for seed in range(5):
        z1, z2 = (rows(seed + k, 64, 32, dtype=torch.float32).requires_grad_() for k in (0, 99))
        for temperature in (0.5, 0.1, 0.02):
            pair = NTXentLoss(temperature), theirs.NTXentLoss(temperature)
            losses = [loss(z1, z2) for loss in pair]
            torch.testing.assert_close(*losses, rtol=1e-5, atol=1e-5)
            slopes = [torch.autograd.grad(loss, z1)[0] for loss in losses]
            torch.testing.assert_close(*slopes, rtol=1e-5, atol=1e-5)


@given(
    views=st.integers(2, 4),
    n=st.integers(2, 7),
    kappa=st.floats(0.2, 30),
    weight=st.floats(0, 3),
    loo=st.booleans(),
    seed=SEED,
)
def test_the_bounds_loss_equals_its_definition_for_any_number_of_views(
    rows, views, n, kappa, weight, loo, seed
):
    z = [rows(seed + k, n, 5) for k in range(views)]
    entropy = sum(looped_entropy(view, kappa, loo) for view in z) / views
    pairs = [(a, b) for a in range(views) for b in range(a)]
    agreement = kappa * sum(mean_cosine(z[a], z[b]) for a, b in pairs) / len(pairs)
    loss = ERLoss(kappa, entropy_weight=weight, leave_one_out=loo)
    got = loss(*z)
    assert float(got) == pytest.approx(-(weight * entropy + agreement), rel=1e-9, abs=1e-9)
    terms = loss.terms(*z)
    assert float(terms.loss) == pytest.approx(float(got))
    assert float(terms.bound) == pytest.approx(entropy + agreement)


@given(n=st.integers(2, 7), where=st.sampled_from(["online", "prediction", "target"]), seed=SEED)
def test_the_distillation_loss_takes_each_term_where_it_says(rows, n, where, seed):
    prediction, projection, target = (rows(seed + k, n, 5).requires_grad_() for k in range(3))
    loss = DistillationERLoss(6.0, entropy_on=where, entropy_weight=0.5, leave_one_out=True)
    chosen = {"online": projection, "prediction": prediction, "target": target}[where].detach()
    with torch.no_grad():
        agreement = 6.0 * mean_cosine(prediction, target)
    want = -(0.5 * looped_entropy(chosen, 6.0, True) + agreement)
    got = loss(prediction, projection, target)
    assert float(got.detach()) == pytest.approx(want)
    got.backward()
    assert target.grad is None
    assert prediction.grad.abs().sum() > 0
    assert (projection.grad is not None) == (where == "online")
    terms = loss.terms(prediction, projection, target)
    assert float(terms.loss.detach()) == pytest.approx(float(got.detach()))


def test_without_the_entropy_distillation_is_byols_loss(rows):
    p, t = rows(0, 8, 4), rows(1, 8, 4)
    unit = [z / z.norm(dim=1, keepdim=True) for z in (p, t)]
    byol = (unit[0] - unit[1]).square().sum(1).mean()
    got = DistillationERLoss(1.0, entropy_weight=0.0)(p, p, t)
    assert 2 + 2 * float(got) == pytest.approx(float(byol))


def looped_discrete(student, target, student_temperature, target_temperature, weight):
    q = [(row / student_temperature).softmax(0) for row in student]
    p = [(row / target_temperature).softmax(0) for row in target]
    mean = [sum(float(row[c]) for row in q) / len(q) for c in range(len(q[0]))]
    entropy = -sum(x * math.log(x) for x in mean if x > 0)
    agreement = sum(
        float(a[c]) * math.log(float(b[c]))
        for a, b in zip(p, q, strict=True)
        for c in range(len(a))
    ) / len(q)
    return -(weight * entropy + agreement)


@given(
    n=st.integers(1, 7),
    m=st.integers(2, 7),
    temperatures=st.tuples(st.floats(0.5, 2), st.floats(0.5, 2)),
    weight=st.floats(0, 2),
    seed=SEED,
)
def test_the_discrete_loss_equals_its_definition(rows, n, m, temperatures, weight, seed):
    z1, z2 = rows(seed, n, m).requires_grad_(), rows(seed + 1, n, m).requires_grad_()
    one_way = DiscreteERLoss(*temperatures, entropy_weight=weight)
    both_ways = DiscreteERLoss(*temperatures, entropy_weight=weight, symmetric=True)
    pairs = (z1.detach(), z2.detach()), (z2.detach(), z1.detach())
    want = [looped_discrete(*pair, *temperatures, weight) for pair in pairs]
    got = one_way(z1, z2)
    assert float(got.detach()) == pytest.approx(want[0], abs=1e-9)
    assert float(both_ways(z1, z2).detach()) == pytest.approx(sum(want) / 2, abs=1e-9)
    got.backward()
    assert z2.grad is None
    both_ways(z1, z2).backward()
    assert z2.grad is not None
    terms = both_ways.terms(z1, z2)
    assert float(terms.loss.detach()) == pytest.approx(sum(want) / 2, abs=1e-9)
    assert terms.ceiling == pytest.approx(math.log(min(n, m)))


@given(seed=SEED)
def test_at_equal_temperatures_the_discrete_bound_keeps_its_ceiling(rows, seed):
    z1, z2 = rows(seed, 12, 5, scale=4.0), rows(seed + 1, 12, 5, scale=4.0)
    loss = DiscreteERLoss(1.0, 1.0, symmetric=True)
    for pair in ((z1, z2), (z1, z1)):
        terms = loss.terms(*pair)
        assert float(terms.bound) <= terms.ceiling + 1e-9
        assert 0 <= terms.level <= 1


@pytest.mark.parametrize("weight", [1.0, 0.3])
def test_a_learnt_kappa_has_the_gradient_of_the_normalised_terms(rows, weight):
    z1, z2 = rows(0, 9, 6), rows(1, 9, 6)
    loss = ERLoss(8.0, entropy_weight=weight, learnable_kappa=True).double()

    def explicit(kappa):
        log_c = vmf_log_normalizer(6, kappa)
        u1, u2 = (z / z.norm(dim=1, keepdim=True) for z in (z1, z2))
        h = [math.log(9) - (kappa * u @ u.T).logsumexp(1).mean() - log_c for u in (u1, u2)]
        r = kappa * (u1 * u2).sum(1).mean() + log_c
        return -(weight * sum(h) / 2 + r)

    got = loss(z1, z2)
    got.backward()
    kappa = torch.tensor(8.0, dtype=torch.float64, requires_grad=True)
    want = explicit(kappa)
    want.backward()
    assert float(got.detach()) == pytest.approx(float(want.detach()))
    assert float(loss.log_kappa.grad) == pytest.approx(8.0 * float(kappa.grad))
    assert float(loss.terms(z1, z2).loss.detach()) == pytest.approx(float(got.detach()))
    assert list(loss.state_dict()) == ["log_kappa"]


def test_a_learnt_kappa_finds_how_far_apart_the_views_are(rows):
    z1 = rows(0, 400, 3, dtype=torch.float32)
    loss = ERLoss(2.0, learnable_kappa=True)
    optimizer = torch.optim.Adam(loss.parameters(), lr=0.2)
    found = []
    for noise in (0.5, 0.1):
        z2 = z1 + noise * rows(1, 400, 3, dtype=torch.float32)
        for _ in range(60):
            optimizer.zero_grad()
            loss(z1, z2).backward()
            optimizer.step()
        found.append(float(loss.kappa.detach()))
    assert 2 < found[0] < found[1] / 3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("temperature", [0.1, 0.02])
def test_half_precision_gives_float32_losses_close_by(rows, dtype, temperature):
    for seed in range(5):
        z1, z2 = (rows(seed + k, 200, 64, dtype=torch.float32) for k in (0, 7))
        for loss in (NTXentLoss(temperature), ERLoss(temperature=temperature)):
            want, got = loss(z1, z2), loss(z1.to(dtype), z2.to(dtype))
            assert got.dtype == torch.float32
            assert float(got) == pytest.approx(float(want), rel=1e-2, abs=1e-2)


@pytest.mark.parametrize("loss", [NTXentLoss(0.1), ERLoss(10.0), DiscreteERLoss()])
def test_autocast_changes_nothing(rows, loss):
    z1, z2 = rows(0, 40, 8, dtype=torch.float32), rows(1, 40, 8, dtype=torch.float32)
    want = loss(z1, z2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(loss(z1, z2), want)


def test_a_row_of_zeros_stays_finite():
    z = torch.zeros(4, 3, requires_grad=True)
    ERLoss(10.0)(z, z).backward()
    assert z.grad.isfinite().all()


def test_the_temperature_is_one_over_kappa(rows):
    z1, z2 = rows(0, 6, 4), rows(1, 6, 4)
    assert torch.equal(ERLoss(temperature=0.05)(z1, z2), ERLoss(kappa=20.0)(z1, z2))
    assert float(ERLoss()(z1, z2)) == float(ERLoss(kappa=10.0)(z1, z2))


def test_the_signature_is_lightlys():
    loss = NTXentLoss(0.07, 0, True)
    assert (loss.temperature, loss.gather_distributed) == (0.07, True)
    assert NTXentLoss().temperature == 0.5
    assert "temperature=0.07" in repr(loss)


def test_modules_say_their_arguments():
    assert "kappa=5, learnable_kappa=False" in repr(ERLoss(5.0))
    assert "kappa=5, learnable_kappa=True" in repr(DistillationERLoss(5.0, learnable_kappa=True))
    assert "symmetric=True" in repr(DiscreteERLoss(symmetric=True))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda z: NTXentLoss(0.0), "temperature must be positive and finite, got 0.0"),
        (lambda z: NTXentLoss(0.1, 4096), "memory_bank_size must be 0, got 4096.*EntropyQueue"),
        (lambda z: NTXentLoss()(z, z[:3]), r"z1 \(5, 4\), z2 \(3, 4\)"),
        (lambda z: NTXentLoss()(z[:1], z[:1]), "at least 2 pairs, got 1"),
        (lambda z: NTXentLoss()(z[0], z[0]), r"z1 must be \(B, D\).*\(4,\)"),
        (lambda z: ERLoss(10.0, temperature=0.1), "got both: 10.0 and 0.1"),
        (lambda z: ERLoss(-1.0), "kappa must be positive"),
        (lambda z: ERLoss(temperature=0.0), "temperature must be positive"),
        (lambda z: ERLoss(entropy_weight=-1.0), "entropy_weight must be at least 0"),
        (lambda z: ERLoss()(z), "at least 2 views are needed, got 1"),
        (lambda z: ERLoss()(z, z, z[:, :3]), r"view 2 \(5, 3\)"),
        (lambda z: ERLoss()(z[:1], z[:1]), "at least 2 rows, got 1"),
        (lambda z: DistillationERLoss(entropy_on="both"), "'online', .* got 'both'"),
        (lambda z: DistillationERLoss()(z, z, z[:2]), r"target \(2, 4\)"),
        (lambda z: DiscreteERLoss(0.0), "student_temperature must be positive"),
        (lambda z: DiscreteERLoss(target_temperature=-1.0), "target_temperature must be positive"),
        (lambda z: DiscreteERLoss(entropy_weight=math.nan), "entropy_weight must be"),
        (lambda z: DiscreteERLoss()(z[:0], z[:0]), "at least 1 row"),
    ],
)
def test_says_what_came_and_what_would_do(rows, call, message):
    with pytest.raises(ValueError, match=message):
        call(rows(0, 5, 4))


@pytest.mark.parametrize("loss", [NTXentLoss(), ERLoss(), DiscreteERLoss()])
def test_refuses_integers(loss):
    z = torch.ones(4, 3, dtype=torch.long)
    with pytest.raises(TypeError, match=r"floating tensor, got torch\.int64"):
        loss(z, z)
