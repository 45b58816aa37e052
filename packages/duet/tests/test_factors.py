import json
import math
from dataclasses import replace

import pytest
import torch
from duet.factors import (
    Factor,
    brightness,
    contrast,
    hflip,
    hue,
    rotation,
    rotation4,
    saturation,
    scale,
    vflip,
)
from duet.views import transform
from hypothesis import given
from hypothesis import strategies as st

MADE = [
    rotation(), rotation4(), hflip(), vflip(), scale(), brightness(), contrast(), saturation(),
    hue(), hue(strength=0.5),
]  # fmt: skip
EACH = pytest.mark.parametrize("factor", MADE, ids=lambda f: f"{f.name}-{f.cyclic}")


def shear(values):
    one, zero = torch.ones_like(values), torch.zeros_like(values)
    return torch.stack([torch.stack([one, values], -1), torch.stack([zero, one], -1)], -2)


@EACH
def test_the_identity_leaves_an_image_as_it_is(factor, generator):
    x = torch.rand(3, 3, 9, 9, generator=generator)
    same = transform(x, factor, factor.identity_p)
    if factor.values is not None:
        assert same.equal(x)
    assert float((same - x).abs().max()) <= 1e-6


@EACH
def test_another_parameter_changes_an_image(factor, generator):
    x = torch.rand(3, 3, 9, 9, generator=generator)
    p = 0.75 if factor.identity_p < 0.7 else 0.3
    assert float((transform(x, factor, p) - x).abs().mean()) > 0.01


@EACH
@given(part=st.floats(0, 1))
def test_normalising_undoes_denormalising(factor, part):
    p = torch.tensor([part], dtype=torch.float64)
    back = factor.normalise(factor.denormalise(p))
    assert float(factor.distance(back, p)) <= 1e-12
    value = factor.denormalise(p)
    again = factor.denormalise(back)
    size = abs(factor.end - factor.start)
    gap = float((again - value).abs())
    assert min(gap, abs(size - gap) if factor.cyclic else gap) <= 1e-9


@EACH
def test_start_is_0_and_the_parameter_grows_to_the_end(factor):
    ends = torch.tensor([factor.start, factor.end], dtype=torch.float64)
    want = [0.0, 0.0 if factor.cyclic else 1.0]
    assert factor.normalise(ends).tolist() == pytest.approx(want)
    middle = factor.normalise(ends.mean().view(1))
    assert float(middle) == pytest.approx(0.5)


@EACH
def test_targets_and_readout_are_inverse(factor):
    levels = factor.values and torch.tensor(factor.values, dtype=torch.float64)
    p = torch.linspace(0.02, 0.98, 49, dtype=torch.float64)
    p = factor.normalise(levels) if levels is not None else p
    target = factor.target(p)
    assert target.shape == (len(p), factor.bins)
    assert float(factor.distance(factor.readout(target), p).max()) <= 1e-4


@EACH
def test_draws_repeat_by_seed_and_cover_the_range(factor):
    drawn = factor.draw(2000, generator=torch.Generator().manual_seed(3))
    assert drawn.equal(factor.draw(2000, generator=torch.Generator().manual_seed(3)))
    assert not drawn.equal(factor.draw(2000, generator=torch.Generator().manual_seed(4)))
    assert drawn.shape == (2000,)
    assert bool(((drawn >= 0) & (drawn <= 1)).all())
    if factor.values is None:  # 2,000 draws: the standard deviation of the mean is 0.0065
        assert float(drawn.mean()) == pytest.approx(0.5, abs=0.03)
        assert float(drawn.std()) == pytest.approx(1 / math.sqrt(12), abs=0.02)
    else:
        counts = drawn.unique(return_counts=True)[1]
        assert len(counts) == len(factor.values)
        assert bool((counts > 2000 / len(counts) - 150).all())


def test_no_draw_touches_the_global_generator(generator):
    before = torch.get_rng_state()
    for factor in MADE:
        factor.draw(5, generator=generator)
    assert torch.get_rng_state().equal(before)


def test_a_probability_leaves_the_rest_at_the_identity(generator):
    drawn = replace(brightness(), probability=0.8).draw(5000, generator=generator)
    share = float((drawn == 0.5).float().mean())  # its standard deviation is 0.0057
    assert share == pytest.approx(0.2, abs=0.03)


def test_one_convention_for_every_factor():
    table = {f.name: (f.cyclic, f.start, f.end, f.identity, f.identity_p) for f in MADE[:9]}
    assert table == {
        "rotation": (True, -180, 180, 0, 0.5),
        "rotation4": (True, -45, 315, 0, 0.125),
        "hflip": (False, -0.5, 1.5, 0, 0.25),
        "vflip": (False, -0.5, 1.5, 0, 0.25),
        "scale": (False, 1, 0.2, 1, 0),
        "brightness": (False, 0.6, 1.4, 1, pytest.approx(0.5)),
        "contrast": (False, 0.6, 1.4, 1, pytest.approx(0.5)),
        "saturation": (False, 0.6, 1.4, 1, pytest.approx(0.5)),
        "hue": (False, -0.1, 0.1, 0, 0.5),
    }


def test_levels_are_in_the_middle_of_bins():
    for factor in (rotation4(), hflip(), vflip()):
        p = factor.normalise(torch.tensor(factor.values))
        centres = (torch.arange(factor.bins) + 0.5) / factor.bins
        assert p.tolist() == pytest.approx(centres.tolist())


def test_distance_is_the_shorter_way_round():
    a, b = torch.tensor([0.05]), torch.tensor([0.95])
    assert float(rotation().distance(a, b)) == pytest.approx(0.1)
    assert float(rotation().distance(a, b + 3)) == pytest.approx(0.1)  # whole turns do not count
    assert float(scale().distance(a, b)) == pytest.approx(0.9)


@EACH
def test_a_config_is_json_and_comes_back_equal(factor):
    config = json.loads(json.dumps(factor.to_config()))
    assert Factor.from_config(config) == factor


def test_a_factor_of_yours_has_its_function_given_again():
    mine = Factor("shear", 8, False, 0.2, -1.0, 1.0, 0.0, affine=shear)
    config = json.loads(json.dumps(mine.to_config()))
    assert config["transform"] == "yours"
    assert Factor.from_config(config, affine=shear) == mine
    assert Factor.from_config(config).affine is None
    bare = Factor("pose", 8, True, 3.0)
    assert Factor.from_config(bare.to_config()) == bare


def test_a_damaged_config_is_refused():
    with pytest.raises(ValueError, match="lacks bins, cyclic"):
        Factor.from_config({"name": "rotation"})
    with pytest.raises(ValueError, match="got 'wormhole'"):
        Factor.from_config(rotation().to_config() | {"transform": "wormhole"})


def test_it_prints_as_a_sentence():
    assert str(rotation()) == "rotation: 8 bins, -180 to 180 degrees, cyclic, kappa 3"
    assert str(hflip()) == "hflip: 2 bins, -0.5 to 1.5, finite, sigma 0.2"


def test_bad_arguments_are_told_what_came():
    with pytest.raises(ValueError, match=r"kappa.*-3"):
        rotation(kappa=-3.0)
    with pytest.raises(ValueError, match=r"sigma.*got 0"):
        scale(sigma=0.0)
    with pytest.raises(ValueError, match=r"bins.*got 0"):
        rotation(bins=0)
    with pytest.raises(ValueError, match=r"differ, got 1\.0 and 1\.0"):
        scale(low=1.0)
    with pytest.raises(ValueError, match=r"identity.*got 5"):
        Factor("mine", 8, False, 0.2, 0.0, 1.0, 5.0)
    with pytest.raises(ValueError, match=r"probability.*got 1.5"):
        Factor("mine", 8, False, 0.2, probability=1.5)
    with pytest.raises(ValueError, match=r"strength of contrast.*got 2"):
        contrast(strength=2.0)
    with pytest.raises(ValueError, match=r"strength of hue.*got 0.6"):
        hue(strength=0.6)
    with pytest.raises(ValueError, match=r"\(\.\.\., 8\), got \(2, 4\)"):
        rotation().readout(torch.ones(2, 4))
    with pytest.raises(TypeError, match="generator must be"):
        rotation().draw(4, generator=None)
    with pytest.raises(TypeError, match="value must be"):
        rotation().normalise(torch.tensor([1]))
