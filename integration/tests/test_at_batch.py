import copy

import numpy as np
import pytest
import torch
from ema_scaling import Recipe, scale
from tenfold.at_batch import Training, band, centred, gap, run, score, supervised
from tenfold.data.images import Split
from torch import nn


def recipe(**changes):
    plain = {"batch": 4, "optimizer": "sgd", "lr": 0.02, "ema_decay": 0.9, "samples": 64}
    return Recipe(**(plain | changes))


def problem(seed=0, n=40):
    torch.manual_seed(seed)
    model = nn.Linear(3, 2).double()
    x = torch.randn(n, 3, dtype=torch.float64)
    return model, (x, (x.sum(1) > 0).long())


def followed(training, modules, size):
    """The rows and the learning rate of every step."""
    seen = []
    scaler = training.scaler(modules)
    for rows in scaler.stream(size, total=training.recipe.samples, seed=training.seed):
        seen.append((rows, scaler.optimizer.param_groups[0]["lr"]))
        scaler.step(samples=len(rows))
    return seen


def test_every_batch_takes_the_same_samples_in_the_same_order():
    model, _ = problem()
    orders = []
    for kappa in (1, 2, 4):
        seen = followed(Training(recipe(), kappa, points=2, seed=3), [model], 40)
        assert [len(rows) for rows, _ in seen] == [4 * kappa] * (16 // kappa)
        orders.append([row for rows, _ in seen for row in rows])
    assert orders[0] == orders[1] == orders[2]


def test_a_large_step_has_the_sum_of_the_small_steps_rates():
    model, _ = problem()
    warm = recipe(warmup_samples=32)
    small = [lr for _, lr in followed(Training(warm, 1, points=2), [model], 40)]
    large = [lr for _, lr in followed(Training(warm, 4, points=2), [model], 40)]
    sums = np.array(small).reshape(-1, 4).sum(1)
    assert large == pytest.approx(sums.tolist(), rel=1e-12)


@pytest.mark.parametrize("kappa", [1, 4])
def test_one_path_carries_what_loops_by_hand_give(kappa):
    model, data = problem()
    reference = copy.deepcopy(model)
    training = Training(recipe(), kappa, points=1)
    curve = supervised(training, model, data, data)

    names = ("rule", "kept", "corrected")
    decays = dict(zip(names, (0.9**kappa, 0.9, 0.9**kappa), strict=True))
    shadows = {name: copy.deepcopy(reference) for name in decays}
    for rows, lr in followed(training, [reference], 40):
        loss = nn.functional.cross_entropy(reference(data[0][rows]), data[1][rows])
        grads = torch.autograd.grad(loss, list(reference.parameters()))
        with torch.no_grad():
            for p, g in zip(reference.parameters(), grads, strict=True):
                p -= lr * g
            for name, shadow in shadows.items():
                for s, p in zip(shadow.parameters(), reference.parameters(), strict=True):
                    s.copy_(decays[name] * s + (1 - decays[name]) * p)
    kept, r = 0.9**kappa, 0.9
    gain = r * (1 - kept) / (kappa * (1 - r) * kept)
    with torch.no_grad():
        for s, p in zip(shadows["corrected"].parameters(), reference.parameters(), strict=True):
            s.copy_(p + gain * (s - p))
    assert curve["target"][-1] == pytest.approx(score(reference, *data)[0], rel=1e-12)
    for name, shadow in shadows.items():
        if kappa == 1 and name != "rule":
            assert name not in curve
        else:
            assert curve[name][-1] == pytest.approx(score(shadow, *data)[0], rel=1e-12)


def test_until_the_start_the_run_is_the_base_run():
    curves = []
    for kappa in (1, 4):
        model, data = problem()
        adam = recipe(optimizer="adamw", lr=0.01)
        curves.append(supervised(Training(adam, kappa, start=32, points=4), model, data, data))
    for name in ("target", "rule"):
        assert curves[0][name][:3] == curves[1][name][:3]
        assert curves[0][name][3:] != curves[1][name][3:]


def test_the_scaler_gives_what_scale_says():
    model, _ = problem()
    adam = recipe(optimizer="adamw", lr=0.01, betas=(0.9, 0.99), weight_decay=0.1)
    group = Training(adam, 4, points=1).scaler([model]).optimizer.param_groups[0]
    scaled = scale(adam, kappa=4, form="power").recipe
    assert group["lr"] == pytest.approx(scaled.lr)
    assert group["betas"] == pytest.approx(scaled.betas)
    assert group["weight_decay"] == pytest.approx(scaled.weight_decay)


def test_a_score_does_not_depend_on_how_it_is_cut():
    model, (x, y) = problem()
    whole, share = score(model, x, y), (model(x).argmax(1) == y).double().mean()
    assert whole == pytest.approx(score(model, x, y, batch=7), rel=1e-12)
    assert whole[0] == pytest.approx(
        float(nn.functional.cross_entropy(model(x), y).detach()), rel=1e-12
    )
    assert whole[1] == pytest.approx(float(share))


def test_measures_at_equal_samples_whatever_the_batch():
    for kappa in (1, 2):
        model, data = problem()
        curve = supervised(Training(recipe(), kappa, points=4), model, data, data)
        assert curve["samples"] == [0, 16, 32, 48, 64]


def test_says_what_does_not_fit():
    with pytest.raises(ValueError, match=r"points \* batch = 4 \* 32"):
        Training(recipe(), 8, points=4)
    with pytest.raises(ValueError, match="got 64 and 3"):
        Training(recipe(), 1, start=3, points=4)
    model, _ = problem()
    with pytest.raises(ValueError, match="got 'lars'"):
        Training(recipe(optimizer="lars"), points=1).scaler([model])
    with pytest.raises(ValueError, match="no ema_decay"):
        Training(recipe(ema_decay=None), points=1).average(model, rule=True)


def test_stops_where_the_loss_is_lost():
    model, (x, _) = problem()
    training = Training(recipe(), points=1)
    with pytest.raises(FloatingPointError, match="nan at 64 samples"):
        run(
            training,
            [model],
            40,
            lambda rows, before: model(x[rows]).sum() * float("nan"),
            averages=[],
            measure=dict,
        )


def test_centred_images_have_no_mean_and_the_test_images_none_of_their_own():
    g = np.random.default_rng(0)
    rows = g.integers(0, 256, (7, 1, 4, 4), dtype=np.uint8)
    split = Split("s", rows[:5], np.arange(5), rows[5:], np.arange(2), ())
    (train, _), (test, labels) = centred(split)
    assert train.mean(0).abs().max() < 1e-6
    back = test * 90 + torch.tensor(rows[:5]).float().mean(0)
    assert torch.allclose(back, torch.tensor(rows[5:]).float(), atol=1e-3)
    assert labels.tolist() == [0, 1]


def test_a_gap_is_measured_after_the_start_and_a_band_spans_the_seeds():
    base = [{"samples": [0.0, 1.0, 2.0], "a": [9.0, 1.0, 2.0 + s]} for s in (0.0, 0.2)]
    other = [{"samples": [0.0, 1.0, 2.0], "b": [0.0, 1.5, 3.0 + s]} for s in (0.0, 0.2)]
    report = gap(base, other, ("a", "b"))
    assert report.samples == (1.0, 2.0)
    assert report.mean_gap == pytest.approx(0.75)
    assert gap(base, other, ("a", "b"), start=1).mean_gap == pytest.approx(1.0)
    line = band("name", base, "a")
    assert (line.y[2], line.low[2], line.high[2]) == pytest.approx((2.1, 2.0, 2.2))
