import math

import pytest
import torch
from duet.factors import hflip, rotation, scale
from duet.layer import DuetMatrix
from duet.loss import DuetLoss, group_loss, js_divergence, relative_group_loss
from duet.objective import nt_xent
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

seeds = st.integers(0, 2**31)


def draw(*shape, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=g, dtype=torch.float64)


def pose(count, seed=0):
    g = torch.Generator().manual_seed(seed + 1)
    return torch.rand(count, generator=g, dtype=torch.float64)


def looped_divergence(p, t):
    """The definition, with 0 log 0 = 0."""
    total = 0.0
    for a, b in zip(p, t, strict=True):
        m = (a + b) / 2
        total += (a * math.log(a / m) if a else 0.0) / 2 + (b * math.log(b / m) if b else 0.0) / 2
    return total


@given(g=st.integers(1, 9), spread=st.floats(0, 8), seed=seeds)
def test_divergence_is_the_definition(g, spread, seed):
    a, b = (spread * draw(2, g, seed=seed)).softmax(-1)
    got = float(js_divergence(a.log(), b))
    assert got == pytest.approx(looped_divergence(a.tolist(), b.tolist()), abs=1e-10)
    assert 0 <= got <= math.log(2) + 1e-12
    assert got == pytest.approx(float(js_divergence(b.log(), a)), abs=1e-10)


@given(g=st.integers(2, 9), seed=seeds)
def test_divergence_is_zero_only_of_equals(g, seed):
    a, b = draw(2, g, seed=seed).softmax(-1)
    assert float(js_divergence(a.log(), a)) <= 1e-15
    assert float(js_divergence(a.log(), b)) > 0


@given(g=st.integers(2, 7), mix=st.floats(0, 1), seed=seeds)
def test_divergence_is_jointly_convex(g, mix, seed):
    p, q, s, t = (3 * draw(4, g, seed=seed)).softmax(-1)
    middle = js_divergence((mix * p + (1 - mix) * q).log(), mix * s + (1 - mix) * t)
    ends = mix * js_divergence(p.log(), s) + (1 - mix) * js_divergence(q.log(), t)
    assert float(middle) <= float(ends) + 1e-12


@given(constant=st.floats(-1e3, 1e3), seed=seeds)
def test_a_constant_on_all_logits_changes_nothing(constant, seed):
    logits, target = draw(3, 8, seed=seed), rotation().target(pose(3))
    moved = js_divergence(logits + constant, target)
    torch.testing.assert_close(moved, js_divergence(logits, target), atol=1e-10, rtol=0)


def test_opposites_cost_the_log_of_two():
    hot = torch.eye(2, dtype=torch.float64)
    assert js_divergence(1e4 * hot, hot.flip(0)).tolist() == pytest.approx([math.log(2)] * 2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_zeros_and_huge_logits_give_finite_losses_and_gradients(dtype):
    target = scale(sigma=0.01).target(torch.tensor([0.06, 0.5, 1.0]))
    assert int((target == 0).sum()) > 10
    for size in (0.0, 1.0, 200.0, 1e4):
        logits = (size * draw(3, 8)).to(dtype).requires_grad_()
        loss = js_divergence(logits, target)
        loss.sum().backward()
        assert loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        assert bool(loss.isfinite().all())
        assert bool(logits.grad.isfinite().all())


def test_a_logit_of_minus_infinity_is_a_zero():
    logits = torch.tensor([[0.0, -math.inf]] * 2, requires_grad=True)
    loss = js_divergence(logits, torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    loss.sum().backward()
    assert loss.tolist() == pytest.approx([0, math.log(2)])
    assert bool(logits.grad.isfinite().all())


def test_gradients_of_the_divergence_are_right():
    logits = draw(3, 5).requires_grad_()
    target = scale(bins=5).target(pose(3)).requires_grad_()
    assert torch.autograd.gradcheck(js_divergence, (logits, target))
    narrow = scale(bins=5, sigma=0.01).target(pose(3))
    assert torch.autograd.gradcheck(lambda a: js_divergence(a, narrow), logits)


@given(seed=seeds, factor=st.sampled_from([rotation(), rotation(bins=6, kappa=20.0), scale()]))
def test_the_gradient_of_the_group_loss_is_equal_over_content_and_sums_to_zero(seed, factor):
    layer = DuetMatrix(5 * factor.bins, [factor])
    z = draw(4, 5 * factor.bins, seed=seed).requires_grad_()
    group_loss(layer(z).logits[0], pose(4, seed), factor).backward()
    grad = z.grad.view(4, factor.bins, 5)
    assert float((grad - grad[:, :, :1]).abs().max()) <= 1e-12
    assert float(grad.sum(1).abs().max()) <= 1e-12
    assert float(grad.abs().max()) > 0


def test_the_group_loss_is_least_at_the_target():
    p = pose(6)
    exact = rotation().target(p).log()
    assert float(group_loss(exact, p, rotation())) <= 1e-15
    each = group_loss(exact, p + 0.2, rotation(), reduction="none")
    assert each.shape == (6,)
    assert float(each.min()) > 0.01
    assert float(each.mean()) == pytest.approx(float(group_loss(exact, p + 0.2, rotation())))


def outputs(factors, batch=6, channels=4, seed=0, grad=False):
    layer = DuetMatrix(len(factors) * 8 * channels, factors)
    z = draw(2, batch, len(factors) * 8 * channels, seed=seed).requires_grad_(grad)
    p = [{f.name: pose(batch, seed + 10 * i + k) for k, f in enumerate(factors)} for i in (0, 1)]
    return z, layer(z[0]), layer(z[1]), *p


def test_the_loss_is_content_plus_weighted_group_terms():
    factors = [rotation(), scale()]
    _, a, b, pa, pb = outputs(factors)
    weights = {"rotation": 500.0, "scale": 5.0}
    out = DuetLoss(factors, weights=weights)(a, b, a.content, b.content, pa, pb)
    want = nt_xent(a.content, b.content)
    for k, factor in enumerate(factors):
        name = factor.name
        both = [group_loss(o.logits[k], p[name], factor) for o, p in ((a, pa), (b, pb))]
        torch.testing.assert_close(out.group[name], sum(both) / 2)
        want = want + weights[name] * sum(both) / 2
    torch.testing.assert_close(out.loss, want)
    assert str(out).startswith(f"loss {out.loss.item():.3f} nats (content ")
    assert out.to_table()["weight"] == [1.0, 500.0, 5.0]
    assert out.to_table()["term"] == ["content", "rotation", "scale"]


@given(seed=seeds)
def test_views_and_samples_may_be_exchanged(seed):
    factors = [rotation()]
    _, a, b, pa, pb = outputs(factors, seed=seed)
    for relative in (False, True):
        loss = DuetLoss(factors, relative=relative)
        there = loss(a, b, a.content, b.content, pa, pb).loss
        back = loss(b, a, b.content, a.content, pb, pa).loss
        if not relative:  # a relative pose is looked for on the grid of the first view
            torch.testing.assert_close(there, back, atol=1e-9, rtol=0)
        order = torch.randperm(6, generator=torch.Generator().manual_seed(seed))
        a2, b2 = (DuetMatrix(32, factors)(o.matrix[0][order].flatten(1)) for o in (a, b))
        moved = [{"rotation": p["rotation"][order]} for p in (pa, pb)]
        permuted = loss(a2, b2, a2.content, b2.content, *moved).loss
        torch.testing.assert_close(there, permuted, atol=1e-9, rtol=0)


def test_with_one_bin_it_is_simclr_bit_for_bit():
    torch.manual_seed(0)
    encoder, head = nn.Linear(10, 24), nn.Linear(24, 8)
    x1, x2, p = torch.randn(5, 10), torch.randn(5, 10), {"rotation": torch.rand(5)}
    layer = DuetMatrix(24, [rotation(bins=1)])
    a, b = layer(encoder(x1)), layer(encoder(x2))
    out = DuetLoss(layer.factors)(a, b, head(a.content), head(b.content), p, p)
    ours = torch.autograd.grad(out.loss, [*encoder.parameters(), *head.parameters()])
    simclr = nt_xent(head(encoder(x1)), head(encoder(x2)))
    theirs = torch.autograd.grad(simclr, [*encoder.parameters(), *head.parameters()])
    assert out.group["rotation"].item() == 0
    assert out.loss.equal(simclr)
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.equal(other)


def test_with_weight_zero_the_gradient_is_that_of_the_content():
    z, a, b, pa, pb = outputs([rotation()], grad=True)
    out = DuetLoss(a.factors, weights=0.0)(a, b, a.content, b.content, pa, pb)
    ours = torch.autograd.grad(out.loss, z, retain_graph=True)[0]
    theirs = torch.autograd.grad(nt_xent(a.content, b.content), z)[0]
    assert ours.equal(theirs)
    assert float(out.group["rotation"]) > 0
    assert not out.group["rotation"].requires_grad


def test_a_factor_of_weight_zero_is_left_alone_beside_one_that_is_trained():
    factors = [rotation(), scale()]
    z, a, b, pa, pb = outputs(factors, grad=True)
    loss = DuetLoss(factors, lambda z1, z2: 0 * (z1.sum() + z2.sum()),
                    weights={"rotation": 500, "scale": 0})  # fmt: skip
    grad = torch.autograd.grad(loss(a, b, a.content, b.content, pa, pb).loss, z)[0]
    assert float(grad[..., :32].abs().max()) > 0
    assert float(grad[..., 32:].abs().max()) == 0


def test_any_objective_will_do():
    _, a, b, pa, pb = outputs([rotation()])
    loss = DuetLoss(a.factors, lambda z1, z2: (z1 - z2).square().mean(), weights=0.0)
    out = loss(a, b, a.content, b.content, pa, pb)
    assert float(out.loss) == pytest.approx(float((a.content - b.content).square().mean()))


@given(turn=st.floats(-1, 1), each=st.booleans(), seed=seeds)
def test_a_relative_loss_does_not_see_a_common_turn(turn, each, seed):
    a, b = draw(2, 5, 8, seed=seed)
    p1, p2 = pose(5, seed), pose(5, seed + 7)
    turn = turn * pose(5, seed + 3) if each else torch.tensor(turn, dtype=torch.float64)
    before = relative_group_loss(a, b, p1, p2, rotation())
    after = relative_group_loss(a, b, p1 + turn, p2 + turn, rotation())
    assert float(after) == pytest.approx(float(before), abs=1e-9)


@given(p1=st.floats(0, 1), p2=st.floats(0, 1), own=st.floats(0, 1))
def test_a_relative_loss_is_almost_zero_for_the_right_difference_only(p1, p2, own):
    turn, p = rotation(), torch.tensor([[p1], [p2]], dtype=torch.float64)
    logits = turn.target(p + own).log()
    right = relative_group_loss(logits[0], logits[1], p[0], p[1], turn)
    wrong = relative_group_loss(logits[0], logits[1], p[0], p[1] + 0.25, turn)
    assert float(right) < 1e-3  # the common turn is looked for on a grid
    assert float(wrong) > 0.01


def test_a_relative_loss_is_the_best_absolute_one_over_a_common_turn():
    a, b = draw(2, 5, 8)
    p1, p2 = pose(5), pose(5, 3)
    got = relative_group_loss(a, b, p1, p2, rotation(), candidates=8, reduction="none")
    tried = torch.stack([
        (group_loss(a, torch.full_like(p1, k / 64), rotation(), reduction="none")
         + group_loss(b, k / 64 + p2 - p1, rotation(), reduction="none")) / 2
        for k in range(64)
    ])  # fmt: skip
    torch.testing.assert_close(got, tried.min(0).values)


def test_autocast_and_bfloat16_change_little_and_huge_logits_nothing_at_all():
    factors = [rotation()]
    layer, p, z = DuetMatrix(64, factors), {"rotation": pose(16).float()}, draw(2, 16, 64).float()
    loss = DuetLoss(factors)

    def total(z):
        a, b = layer(z[0]), layer(z[1])
        return loss(a, b, a.content, b.content, p, p)

    wide = total(z)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert total(z).loss.equal(wide.loss)
        narrow = total(z.bfloat16())
    assert narrow.loss.dtype == torch.float32
    assert float(narrow.group["rotation"]) == pytest.approx(float(wide.group["rotation"]), rel=1e-2)
    assert float(narrow.loss) == pytest.approx(float(wide.loss), rel=1e-2)
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        big = (1e4 * z.sign()).to(dtype)
        out = total(big)
        assert math.isfinite(float(out.group["rotation"]))
        if dtype != torch.float16:  # whose content, a sum of 8, is beyond its range
            assert math.isfinite(float(out.loss))


def test_bad_arguments_are_told_what_came():
    factors = [rotation()]
    _, a, b, _, pb = outputs(factors)
    loss = DuetLoss(factors)
    with pytest.raises(ValueError, match=r"lack rotation, got \['scale'\]"):
        loss(a, b, a.content, b.content, {"scale": pose(6)}, pb)
    with pytest.raises(ValueError, match="p must be finite; got nan"):
        loss(a, b, a.content, b.content, {"rotation": pose(6) * math.nan}, pb)
    with pytest.raises(ValueError, match=r"\(6, 8\) and \(5,\)"):
        group_loss(a.logits[0], pose(5), rotation())
    with pytest.raises(ValueError, match=r"\(B, 4\) and \(B,\), got \(6, 8\)"):
        group_loss(a.logits[0], pose(6), rotation(bins=4))
    with pytest.raises(ValueError, match=r"in \[0, 1\].*got 1.5"):
        group_loss(a.logits[0], pose(6) * 0 + 1.5, scale())
    one = DuetMatrix(32, factors)(torch.zeros(1, 32))
    with pytest.raises(ValueError, match="B >= 2"):
        loss(one, one, one.content, one.content, {"rotation": pose(1)}, {"rotation": pose(1)})
    _, c, d, pc, pd = outputs([rotation(), scale()])
    with pytest.raises(ValueError, match="1 factors, got 2 and 2"):
        loss(c, d, c.content, d.content, pc, pd)
    with pytest.raises(ValueError, match=r"weights must be for \['rotation'\], got \['scale'\]"):
        DuetLoss(factors, weights={"scale": 1.0})
    with pytest.raises(ValueError, match="weight of rotation must be 0 or more, got -1"):
        DuetLoss(factors, weights=-1.0)
    with pytest.raises(ValueError, match="scale is finite"):
        DuetLoss([scale()], relative=True)
    with pytest.raises(ValueError, match="hflip is finite"):
        relative_group_loss(draw(2, 2), draw(2, 2), pose(2), pose(2), hflip())
    with pytest.raises(ValueError, match=r"among \['rotation'\], got \['scale'\]"):
        DuetLoss(factors, relative=["scale"])
    with pytest.raises(ValueError, match=r"candidates.*got 0"):
        relative_group_loss(a.logits[0], b.logits[0], pose(6), pose(6), rotation(), candidates=0)
    with pytest.raises(ValueError, match="reduction must be 'mean' or 'none', got 'sum'"):
        group_loss(a.logits[0], pose(6), rotation(), reduction="sum")
    with pytest.raises(ValueError, match=r"\(2, 3\) and \(2, 4\)"):
        js_divergence(draw(2, 3), draw(2, 4))
