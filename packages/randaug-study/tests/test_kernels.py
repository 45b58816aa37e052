"""The tables and filters against their definitions, pixel by pixel."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from randaug_study import Plan, RandAugment, Space, filters, tables, warp
from randaug_study.run import run

SPACE = Space((*RandAugment().space.ops, "Invert", "SolarizeAdd"))


def random(*shape: int, seed: int = 0, least: int = 0, most: int = 255) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randint(least, most + 1, shape, generator=g, dtype=torch.uint8)


def one(x, op, bin=0, sign=1, space=SPACE):
    columns = (torch.full((len(x), 1), v) for v in (space.ops.index(op), sign, bin))
    return run(x, Plan(*columns, space), "nearest", None)


@pytest.mark.parametrize("op", [*tables.FIXED, "Contrast", "AutoContrast", "Equalize"])
@pytest.mark.parametrize("bin", [0, 9, 30])
def test_a_pointwise_operation_is_its_table(op, bin):
    x = random(3, 3, 16, 16)
    out = one(x, op, bin)
    for image, after in zip(x, out, strict=True):
        for channel in range(3):
            pairs = dict(
                zip(
                    image[channel].flatten().tolist(),
                    after[channel].flatten().tolist(),
                    strict=True,
                )
            )
            again = [pairs[level] for level in image[channel].flatten().tolist()]
            assert again == after[channel].flatten().tolist()


@pytest.mark.parametrize("bin", [0, 12, 30])
def test_fixed_tables_are_their_definitions_at_every_level(bin):
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    at = {op: one(levels, op, bin).flatten().tolist() for op in tables.FIXED}
    q = bin / 30
    bits = 8 - round(4 * q)
    assert at["Posterize"] == [v >> (8 - bits) << (8 - bits) for v in range(256)]
    assert at["Invert"] == [255 - v for v in range(256)]
    assert at["SolarizeAdd"] == [v if v > 127 else min(255, v + int(110 * q)) for v in range(256)]
    want = [255 - v if v >= 255 * (1 - q) - 1e-4 else v for v in range(256)]
    assert at["Solarize"] == want
    bright = [min(255, int(v * (1 + 0.9 * q) + 1e-4)) for v in range(256)]
    assert max(abs(a - b) for a, b in zip(at["Brightness"], bright, strict=True)) <= (0 < bin < 30)


@given(st.integers(0, 30))
def test_posterize_is_idempotent_and_invert_an_involution(bin):
    x = random(2, 3, 8, 8)
    assert torch.equal(one(one(x, "Posterize", bin), "Posterize", bin), one(x, "Posterize", bin))
    assert torch.equal(one(one(x, "Invert"), "Invert"), x)


@given(st.lists(st.sampled_from(tables.FIXED), min_size=2, max_size=4), st.integers(0, 30))
def test_tables_compose(ops, bin):
    x, composed = random(2, 1, 16, 16), torch.arange(256, dtype=torch.uint8)
    after = x
    for op in ops:
        after = one(after, op, bin)
        composed = tables.fixed(SPACE, op)[0, bin][composed.long()]
    assert torch.equal(after, composed[x.long()])


@given(st.integers(0, 200), st.sampled_from([(1, 20), (1, 55), (2, 10), (2, 3)]))
def test_autocontrast_forgets_an_affine_change_without_clipping(seed, change):
    times, plus = change
    x = random(2, 3, 9, 9, seed=seed, most=100)
    moved = (x.int() * times + plus).to(torch.uint8)
    ours, other = one(x, "AutoContrast").int(), one(moved, "AutoContrast").int()
    assert (ours - other).abs().max() <= 1
    assert int(ours.amin()) == 0
    assert int(ours.amax()) >= 254


@given(st.integers(0, 255))
def test_a_flat_image_stays_under_autocontrast_and_equalize(level):
    x = torch.full((2, 3, 20, 20), level, dtype=torch.uint8)
    assert torch.equal(one(x, "AutoContrast"), x)
    assert torch.equal(one(x, "Equalize"), x)


@given(st.integers(0, 100))
def test_equalize_sees_ranks_only(seed):
    x = random(1, 1, 32, 32, seed=seed, most=80)
    curve = torch.arange(256).clamp(max=80) ** 2 // 26  # not injective below
    stretched = (x.int() * 3 + 7).to(torch.uint8)
    assert torch.equal(one(stretched, "Equalize"), one(x, "Equalize"))
    assert not torch.equal(one(curve[x.long()].to(torch.uint8), "Equalize"), one(x, "Equalize"))


def test_the_histogram_is_a_count():
    x = random(2, 3, 7, 5)
    counts = tables.histogram(x)
    for i in range(2):
        for c in range(3):
            for level in range(256):
                assert int(counts[i, c, level]) == int((x[i, c] == level).sum())


def test_sharpness_is_its_definition_pixel_by_pixel():
    x, factor = random(1, 1, 6, 7), 1.5
    out = x.clone()
    filters.sharpness_(out, torch.tensor([factor]), torch.tensor([1 - factor]))
    want = x[0, 0].tolist()
    for i in range(1, 5):
        for j in range(1, 6):
            near = [int(x[0, 0, i + a, j + b]) for a in (-1, 0, 1) for b in (-1, 0, 1)]
            mean = round((sum(near) + 4 * near[4]) / 13)
            want[i][j] = max(0, min(255, int(mean + factor * (near[4] - mean))))
    assert out[0, 0].tolist() == want


@given(st.sampled_from([(5, 8), (8, 5), (9, 9)]), st.integers(-12, 12), st.integers(-12, 12))
def test_a_shift_by_whole_pixels_is_a_slice(size, right, down):
    height, width = size
    x = random(1, 2, height, width)
    for made in (x.clone(), x.clone().numpy()):
        warp.shift_(made, (right, down), 77)
        for i in range(height):
            for j in range(width):
                a, b = i - down, j - right
                inside = 0 <= a < height and 0 <= b < width
                assert made[0, 1, i, j] == (x[0, 1, a, b] if inside else 77)


def test_translations_move_by_their_share_of_width_and_height():
    x = random(1, 1, 20, 40)
    out = one(x, "TranslateX", 30)  # 150 / 331 of 40: 18 pixels to the right
    assert torch.equal(out[..., 18:], x[..., :22])
    assert not out[..., :18].any()
    out = one(x, "TranslateY", 30, -1)  # of 20: 9 pixels up
    assert torch.equal(out[..., :11, :], x[..., 9:, :])
    assert not out[..., 11:, :].any()


@pytest.mark.parametrize("op", ["ShearX", "ShearY", "Rotate", "TranslateX", "TranslateY"])
def test_no_magnitude_is_no_warp(op):
    x = random(2, 3, 11, 14)
    assert torch.equal(one(x, op, 0), x)
    assert torch.equal(one(x, op, 0, -1), x)


def test_a_turn_and_its_opposite_give_the_inner_disc_back():
    axis = torch.linspace(-1, 1, 65)
    radius = (axis[:, None] ** 2 + axis**2).sqrt()
    smooth = ((torch.sin(3 * axis[:, None]) + torch.cos(2 * axis) + 2) * 60).to(torch.uint8)[
        None, None
    ]
    there = one(smooth, "Rotate", 20)
    back = one(there, "Rotate", 20, -1)
    error = (back.float() - smooth.float()).abs()[0, 0][radius < 0.9].mean()
    assert float(error) < 3 < float((there.float() - smooth.float()).abs().mean())


def test_a_positive_rotation_is_against_the_clock():
    wide = Space(("Rotate",), 31, "wide")
    x = random(1, 1, 8, 8)
    out = one(x, "Rotate", 20, space=wide)  # 90 degrees
    assert torch.equal(out, torch.rot90(x, 1, (2, 3)))

    x = torch.zeros(1, 1, 33, 33, dtype=torch.uint8)
    x[..., 15:18, 28:31] = 255  # right of the middle
    rows, columns = one(x, "Rotate", 30)[0, 0].nonzero().float().mean(0).tolist()
    assert 6 < 16 - rows < 7  # up, by 13 times the sine of 30 degrees
    assert 10 < columns - 16 < 12


def test_maps_that_are_kept_one_by_one_are_those_kept_together(monkeypatch):
    x = random(40, 3, 19, 12)
    plan = RandAugment(2, 17).sample(40, key=0)
    want = [run(x, plan, mode, None) for mode in ("nearest", "bilinear")]
    for cache in (warp.CACHE_BYTES, 1):
        monkeypatch.setattr(warp, "WHOLE_BYTES", 0)
        monkeypatch.setattr(warp, "CACHE_BYTES", cache)
        warp.maps.cache_clear()
        for mode, expected in zip(("nearest", "bilinear"), want, strict=True):
            assert torch.equal(run(x, plan, mode, None), expected)
    warp.maps.cache_clear()
