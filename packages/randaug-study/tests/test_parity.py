"""Every operation at every bin against torchvision's functions, on the same uint8 tensors."""

import pytest
import torch
from randaug_study import AugMix, Plan, RandAugment, Space, TrivialAugmentWide
from randaug_study.augmix import ALL, BINS
from randaug_study.run import run
from torchvision.transforms import v2

TABLES = {
    "randaugment": v2.RandAugment,
    "wide": v2.TrivialAugmentWide,
    "augmix": v2.AugMix,
}
SPACES = [Space(), Space(ranges="wide"), Space(("Identity", *ALL), BINS, "augmix")]


def images(shape: tuple[int, int, int], random: int = 64) -> torch.Tensor:
    """Random images and eight structured ones, uint8."""
    _, height, width = shape
    g = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (random + 8, *shape), generator=g, dtype=torch.uint8)
    down, right = torch.arange(height)[:, None], torch.arange(width)[None]
    x[0], x[1], x[2] = 0, 255, 128
    x[3] = (right * 255 // max(width - 1, 1)).to(torch.uint8)
    x[4] = (down * 255 // max(height - 1, 1)).to(torch.uint8)
    x[5] = ((down + right) % 2 * 255).to(torch.uint8)
    x[6] = torch.where(down < height // 2, 30, 200).to(torch.uint8)
    x[7] = torch.randint(100, 110, shape, generator=g, dtype=torch.uint8)
    return x


def theirs(x, space, op, sign, bin, interpolation, fill=None):
    """The whole batch at once by torchvision: one operation, one magnitude."""
    transform = TABLES[space.ranges](interpolation=v2.InterpolationMode(interpolation), fill=fill)
    spread, _ = transform._AUGMENTATION_SPACE.get(op, (lambda *_: None, False))
    values = spread(space.bins, *x.shape[-2:])
    value = 0.0 if values is None else sign * float(values[bin])
    return transform._apply_image_or_video_transform(
        x, op, value, interpolation=transform.interpolation, fill=transform._fill
    )


def every(space):
    for number, op in enumerate(space.ops):
        for bin in range(space.bins if space.graded[number] else 1):
            for sign in (1, -1) if space.signed[number] else (1,):
                yield number, op, bin, sign


def compare(space, x, interpolation, fill=None, backend="torch"):
    """The largest difference of any grey level, by operation."""
    level = None if fill is None else torch.tensor(fill).float().expand(x.shape[1])
    worst = dict.fromkeys(space.ops, 0)
    for number, op, bin, sign in every(space):
        columns = (torch.full((len(x), 1), v) for v in (number, sign, bin))
        ours = run(x, Plan(*columns, space), interpolation, level, backend=backend)
        other = theirs(x, space, op, sign, bin, interpolation, fill)
        worst[op] = max(worst[op], int((ours.int() - other.int()).abs().max()))
    return worst


@pytest.mark.parametrize("space", SPACES, ids=lambda s: s.ranges)
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (3, 16, 9)])
def test_every_operation_at_every_bin_is_torchvisions_to_the_bit(space, shape):
    worst = compare(space, images(shape), "nearest")
    assert worst == dict.fromkeys(space.ops, 0)


def test_where_torchvision_rounds_equal_grey_levels_apart_we_differ_by_one_of_them():
    space, x = Space(), images((3, 15, 22))  # 990 numbers: its last 14 fill no vector register
    assert compare(space, x, "nearest") == dict.fromkeys(space.ops, 0) | {"Contrast": 1}
    number, seen = space.ops.index("Contrast"), 0
    for bin, sign in ((10, 1), (11, -1), (20, 1), (22, -1)):
        other = theirs(x, space, "Contrast", sign, bin, "nearest")
        columns = (torch.full((len(x), 1), v) for v in (number, sign, bin))
        ours = run(x, Plan(*columns, space), "nearest", None)
        for i, channel, row, column in (ours != other).nonzero().tolist():
            alike = other[i][x[i] == x[i, channel, row, column]]
            assert int(alike.max()) - int(alike.min()) == 1  # one level in, two levels out
            seen += 1
    assert 0 < seen < 10  # of 4.4 million numbers


@pytest.mark.parametrize("space", SPACES[:2], ids=lambda s: s.ranges)
def test_bilinear_warps_are_within_one_grey_level(space):
    assert max(compare(space, images((3, 16, 19), 12), "bilinear").values()) <= 1


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_a_fill_is_torchvisions(interpolation):
    space = Space(("Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY"), 5)
    worst = compare(space, images((3, 16, 19), 12), interpolation, fill=[7.0, 80.0, 211.0])
    assert max(worst.values()) <= (interpolation == "bilinear")


@pytest.mark.parametrize("space", SPACES[:2], ids=lambda s: s.ranges)
def test_opencv_gives_the_same_bits(space):
    pytest.importorskip("cv2")
    for shape in ((3, 14, 24), (1, 12, 8)):
        worst = compare(space, images(shape, 4), "nearest", backend="opencv")
        assert worst == dict.fromkeys(space.ops, 0)


def test_large_images_agree_too():
    space, x = Space(bins=3), images((3, 260, 270), 0)
    assert compare(space, x, "nearest") == dict.fromkeys(space.ops, 0)


def test_a_whole_chain_is_torchvisions():
    x, aug = images((3, 24, 20)), RandAugment(num_ops=3, magnitude=20)
    out, plan = aug(x, key=5, return_plan=True)
    for i, image in enumerate(x):
        for op, sign, bin in zip(plan.names[i], plan.sign[i], plan.bin[i], strict=True):
            image = theirs(image, aug.space, op, int(sign), int(bin), "nearest")
        assert torch.equal(image, out[i])


def test_solarize_at_bin_zero_inverts_white_unless_asked_not_to():
    x = torch.tensor([254, 255], dtype=torch.uint8).view(1, 1, 1, 2)
    for asked, want in ((False, [254, 0]), (True, [254, 255])):
        aug = RandAugment(1, 0, ops=("Solarize",), identity_at_zero=asked)
        assert aug(x, key=0).flatten().tolist() == want


def test_augmix_mixes_as_torchvision_does():
    x = images((3, 16, 16), 8)
    aug = AugMix(severity=5)
    out, plan = aug(x, key=1, return_plan=True)
    for i, image in enumerate(x):
        mix = plan.weights[i, 0] * image[None]
        for weight, chain in zip(plan.weights[i, 1:], plan.chains, strict=True):
            step = image[None]
            for op, sign, bin in zip(chain.names[i], chain.sign[i], chain.bin[i], strict=True):
                step = theirs(step, aug.space, op, int(sign), int(bin), "bilinear")
            mix.add_(weight * step)
        assert (mix.to(torch.uint8)[0].int() - out[i].int()).abs().max() <= 1


@pytest.mark.parametrize("name", ["RandAugment", "TrivialAugmentWide", "AugMix"])
def test_arguments_and_defaults_are_torchvisions(name):
    import inspect

    mine = {"RandAugment": RandAugment, "TrivialAugmentWide": TrivialAugmentWide, "AugMix": AugMix}
    given = [inspect.signature(c).parameters for c in (getattr(v2, name), mine[name])]
    for parameter, other in zip(*(p.values() for p in given), strict=False):
        default = getattr(parameter.default, "value", parameter.default)
        assert (parameter.name, default) == (other.name, other.default)
