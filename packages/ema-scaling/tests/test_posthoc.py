import math
import warnings
from itertools import pairwise

import pytest
import torch
from ema_scaling import PostHocEMA, PowerFunction, sigma_rel_to_gamma, solve_weights, synthesize
from ema_scaling.posthoc import LowPrecisionWarning
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

GAMMAS = (sigma_rel_to_gamma(0.05), sigma_rel_to_gamma(0.1))


def grid(snapshots, end=1000.0):
    """Times and gammas of evenly spaced snapshots of two widths."""
    times = [end * (i + 1) / snapshots for i in range(snapshots) for _ in GAMMAS]
    return times, list(GAMMAS) * snapshots


@given(at=st.integers(0, 9))
def test_a_profile_that_is_stored_gets_all_the_weight(at):
    times, gammas = grid(5)
    fit = solve_weights(times, gammas, time=times[at], gamma=gammas[at])
    assert fit.weights == tuple(float(i == at) for i in range(10))
    assert (fit.error, fit.magnification) == (0, 1)


@given(width=st.floats(0.03, 0.25), snapshots=st.integers(2, 12))
def test_the_weights_sum_to_one(width, snapshots):
    times, gammas = grid(snapshots)
    fit = solve_weights(times, gammas, time=1000, gamma=sigma_rel_to_gamma(width))
    assert math.fsum(fit.weights) == pytest.approx(1, abs=1e-14 * fit.magnification)


@given(width=st.floats(0.05, 0.2))
def test_more_snapshots_never_fit_worse(width):
    gamma = sigma_rel_to_gamma(width)
    errors = [
        solve_weights(*grid(n), time=1000, gamma=gamma).error for n in (2, 4, 8, 16)
    ]  # each grid holds the one before
    for fewer, more in pairwise(errors):
        assert more <= fewer * (1 + 1e-6) + 1e-6
    assert errors[-1] < 0.05


def test_the_error_is_the_distance_of_the_profiles():
    """Oracle: both profiles on a fine grid."""
    times, gammas = grid(3)
    gamma = sigma_rel_to_gamma(0.08)
    fit = solve_weights(times, gammas, time=900, gamma=gamma)
    s = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200

    def profile(g, t):
        return torch.where(s <= t, (g + 1) * (s / t) ** g / t, 0.0)

    wanted = profile(gamma, 900)
    got = sum(w * profile(g, t) for w, g, t in zip(fit.weights, gammas, times, strict=True))
    assert float((got - wanted).norm() / wanted.norm()) == pytest.approx(fit.error, rel=1e-3)


def test_an_ill_conditioned_system_says_so():
    close = solve_weights([1000, 1000.001], [7, 7], time=900, gamma=7)
    apart = solve_weights([500, 1000], [7, 7], time=900, gamma=7)
    assert close.condition > 1e5 > 10 > apart.condition


class Ramp(nn.Module):
    """Its weights grow with the clock, so an average's value is its profile's mean time."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(3))
        self.norm = nn.BatchNorm1d(3)


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory):
    """1,000 steps of batch 32, updated every 5th, with a snapshot every 100."""
    folder = tmp_path_factory.mktemp("snapshots")
    model = Ramp()
    post = PostHocEMA(model, sigma_rels=(0.05, 0.1), batch=32, update_every=5)
    for step in range(1, 1001):
        with torch.no_grad():
            model.w.copy_(torch.tensor([1.0, 2.0, -1.0]) * step)
            model.norm.num_batches_tracked.fill_(step)
        post.update()
        if step % 100 == 0:
            post.snapshot(folder)
    return folder


@pytest.mark.parametrize("width", [0.05, 0.07, 0.1, 0.15])
def test_a_synthesis_equals_the_average_that_was_never_tracked(snapshots, tmp_path, width):
    output = tmp_path / "ema.safetensors"
    report = synthesize(snapshots, output, sigma_rel=width)
    gamma = sigma_rel_to_gamma(width)
    want = 1000 * (gamma + 1) / (gamma + 2)
    weights = load_file(output)
    torch.testing.assert_close(
        weights["w"], want * torch.tensor([1.0, 2.0, -1.0]), rtol=2e-3, atol=0
    )
    assert int(weights["norm.num_batches_tracked"]) == 1000
    assert report.time == 32_000
    assert len(report.files) == 20
    assert "profile error" in str(report)
    assert len(report.to_table()["weight"]) == 20


def test_a_synthesis_can_end_earlier(snapshots, tmp_path):
    report = synthesize(snapshots, tmp_path / "e.safetensors", sigma_rel=0.1, time=16_000)
    assert len(report.files) == 10
    assert max(report.fit.weights) == 1  # the snapshot itself
    got = load_file(tmp_path / "e.safetensors")["w"][0]
    assert float(got) == pytest.approx(500 * 7.937 / 8.937, rel=1e-3)


def test_snapshots_in_half_precision_warn_and_are_refused_where_it_shows(tmp_path):
    model = Ramp()
    post = PostHocEMA(model, batch=1)
    for _ in range(8):
        post.update()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LowPrecisionWarning)
            post.snapshot(tmp_path, dtype=torch.float16)
    with pytest.warns(LowPrecisionWarning, match="magnifies their rounding"):
        post.snapshot(tmp_path, dtype=torch.float16, overwrite=True)
    out = tmp_path / "out" / "x.safetensors"
    out.parent.mkdir()
    with pytest.raises(
        ValueError, match=r"magnified .* times, would reach .*store them in float32"
    ):
        synthesize(tmp_path, out, sigma_rel=0.2)
    assert not out.exists()


def test_what_cannot_be_synthesised_is_refused(snapshots, tmp_path):
    out = tmp_path / "x.safetensors"
    with pytest.raises(ValueError, match="holds no snapshots"):
        synthesize(tmp_path, out, sigma_rel=0.1)
    with pytest.raises(ValueError, match=r"no snapshot .* was taken up to 10 samples"):
        synthesize(snapshots, out, sigma_rel=0.1, time=10)
    with pytest.raises(ValueError, match="sigma_rel must lie in"):
        synthesize(snapshots, out, sigma_rel=0.5)
    post = PostHocEMA(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="nothing has been averaged yet"):
        post.snapshot(tmp_path)
    post.update()
    post.snapshot(tmp_path)
    with pytest.raises(ValueError, match="is there already: pass overwrite=True"):
        post.snapshot(tmp_path)
    other = PostHocEMA(nn.Linear(3, 2))
    other.update()
    other.update()
    other.snapshot(tmp_path)
    with pytest.raises(ValueError, match="differ in weight"):
        synthesize(tmp_path, out, sigma_rel=0.1)
    assert not out.exists()
    with pytest.raises(ValueError, match="sigma_rels must name at least one width"):
        PostHocEMA(nn.Linear(2, 2), sigma_rels=())
    with pytest.raises(ValueError, match="must pair up, got 2 and 1"):
        solve_weights([1, 2], [7], time=1, gamma=7)


def test_a_damaged_or_foreign_snapshot_is_named(snapshots, tmp_path):
    first = sorted(snapshots.iterdir())[0]
    broken = tmp_path / first.name
    broken.write_bytes(first.read_bytes()[:-3])
    with pytest.raises(ValueError, match=rf"{first.name} is truncated"):
        synthesize(tmp_path, tmp_path / "out", sigma_rel=0.1)
    synthesize(snapshots, broken, sigma_rel=0.1)
    with pytest.raises(ValueError, match="is no snapshot of ema-scaling"):
        synthesize(tmp_path, tmp_path / "out", sigma_rel=0.1)


def test_a_resumed_run_of_several_averages_goes_on(move):
    model = nn.Linear(2, 2)
    post, fresh = (PostHocEMA(model, batch=4, update_every=2) for _ in range(2))
    for _ in range(3):
        move(model)
        post.update()
    fresh.load_state_dict(post.state_dict())
    move(model)
    post.update()
    fresh.update()
    assert fresh.samples == 16
    for a, b in zip(post.emas, fresh.emas, strict=True):
        assert torch.equal(a.weights()["weight"], b.weights()["weight"])
    with pytest.raises(ValueError, match="the state has 2 averages, this has 1"):
        PostHocEMA(model, sigma_rels=(0.1,)).load_state_dict(post.state_dict())


@given(kappa=st.integers(1, 20))
def test_the_exponent_needs_no_scaling(kappa):
    schedule = PowerFunction(gamma=6.94)
    whole = schedule.decay(1000, 1000 + kappa * 8)
    parts = math.prod(schedule.decay(1000 + 8 * i, 1008 + 8 * i) for i in range(kappa))
    assert whole == pytest.approx(parts, rel=1e-12)


@pytest.mark.parametrize("lost", ["averaged", "profile"])
@pytest.mark.parametrize("put", [None, "[", "[" * 100_000, "3", '{"time": "a", "gamma": 1}'])
def test_a_snapshot_whose_header_is_spoilt_is_refused(tmp_path, lost, put):
    metadata = {"format": "ema-scaling", "version": "1", "kind": "power-function-snapshot"}
    metadata |= {"averaged": "[]", "profile": '{"time": 8, "gamma": 6.9}'}
    del metadata[lost]
    if put is not None:
        metadata[lost] = put
    save_file({"a": torch.zeros(2)}, tmp_path / "a.safetensors", metadata=metadata)
    if (lost, put) == ("averaged", '{"time": "a", "gamma": 1}'):
        return  # names enough
    with pytest.raises(ValueError, match="malformed header"):
        synthesize(tmp_path, tmp_path / "out", sigma_rel=0.1)
