from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
import torch
import torch.nn.functional as F
from duet.factors import (
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
from duet.kornia import read_kornia
from duet.views import ParamView, disc

SKIP = "kornia is of the bench group"


def record(**steps):
    return [SimpleNamespace(name=name, data=data) for name, data in steps.items()]


def rows(*values):
    return torch.tensor(values)


def flip(*applied):
    return {"batch_prob": rows(*applied)}


def test_degrees_are_counterclockwise_in_one_class_and_clockwise_in_the_other():
    turned = record(RandomRotation_0={"degrees": rows(90.0, 30.0), "batch_prob": rows(1.0, 0.0)})
    assert read_kornia(turned, [rotation()])["rotation"].tolist() == [0.75, 0.5]
    moved = record(RandomAffine_0={"angle": rows(90.0, 30.0), "batch_prob": rows(1.0, 0.0)})
    assert read_kornia(moved, [rotation()])["rotation"].tolist() == [0.25, 0.5]


def test_corners_go_clockwise_and_the_last_pixel_is_inside():
    full = [[0.0, 0.0], [9.0, 0.0], [9.0, 7.0], [0.0, 7.0]]  # 10 wide, 8 high
    part = [[2.0, 4.0], [6.0, 4.0], [6.0, 7.0], [2.0, 7.0]]  # 5 wide, 4 high
    crop = {"src": rows(full, part), "input_size": rows([8, 10], [8, 10]),
            "batch_prob": rows(1.0, 1.0)}  # fmt: skip
    read = read_kornia(record(RandomResizedCrop_0=crop), [scale()])
    assert read["scale"].tolist() == pytest.approx([0, (1 - 0.25) / 0.8])
    assert read["crop_x"].tolist() == pytest.approx([0.5, 2 / 5])
    assert read["crop_y"].tolist() == pytest.approx([0.5, 1.0])
    assert read["crop_ratio"].tolist() == pytest.approx([1, 1])


def test_a_flip_after_a_rotation_turns_its_sign_and_before_it_does_not():
    turned = {"degrees": rows(90.0, 90.0), "batch_prob": rows(1.0, 1.0)}
    after = record(RandomRotation_0=turned, RandomHorizontalFlip_1=flip(1.0, 0.0))
    before = record(RandomVerticalFlip_0=flip(1.0, 0.0), RandomRotation_1=turned)
    assert read_kornia(after, [rotation()])["rotation"].tolist() == [0.25, 0.75]
    assert read_kornia(before, [rotation()])["rotation"].tolist() == [0.75, 0.75]
    both = read_kornia(after, [rotation(), hflip()])
    assert both["hflip"].tolist() == [0.75, 0.25]


def test_nested_records_and_single_augmentations_are_read():
    data = {"degrees": rows(90.0), "batch_prob": rows(1.0)}
    nested = record(ImageSequential_0=record(RandomRotation_0=data), RandomErasing_1={})
    assert read_kornia(nested, [rotation()])["rotation"].tolist() == [0.75]
    assert read_kornia({"RandomRotation": data}, [rotation()])["rotation"].tolist() == [0.75]


def test_colours_are_read_by_name():
    jitter = {"brightness_factor": rows(0.6), "contrast_factor": rows(1.4),
              "saturation_factor": rows(1.0), "hue_factor": rows(0.05),
              "batch_prob": rows(1.0)}  # fmt: skip
    read = read_kornia(
        record(ColorJitter_0=jitter), [brightness(), contrast(), saturation(), hue()]
    )
    got = {name: round(float(p), 6) for name, p in read.items()}
    assert got == {"brightness": 0, "contrast": 1, "saturation": 0.5, "hue": 0.75}


def test_bad_records_are_told_what_came():
    turned = {"degrees": rows(90.0), "batch_prob": rows(1.0)}
    with pytest.raises(ValueError, match=r"no hue, got \['rotation'\]"):
        read_kornia(record(RandomRotation_0=turned), [hue()])
    with pytest.raises(ValueError, match="rotation was recorded twice"):
        read_kornia(record(RandomRotation_0=turned, RandomRotation_1=turned), [rotation()])
    wide = {"hue_factor": rows(0.3), "batch_prob": rows(1.0)}
    with pytest.raises(ValueError, match=r"hue 0\.3, outside of -0\.1 to 0\.1"):
        read_kornia(record(RandomHue_0=wide), [hue()])


def sequences(K):
    half = {"align_corners": False}
    return {
        "rotation": ([K.RandomRotation(180.0, p=0.7)], [rotation()]),
        "affine": ([K.RandomAffine(180.0, p=0.7)], [rotation()]),
        "quarters": ([K.RandomRotation90((-3, 3), p=0.9), K.RandomHorizontalFlip()],
                     [rotation4(), hflip()]),
        "flips": ([K.RandomRotation(180.0, p=0.9), K.RandomHorizontalFlip(),
                   K.RandomVerticalFlip()], [rotation(), hflip(), vflip()]),
        "crop": ([K.RandomResizedCrop((64, 64), scale=(0.2, 1.0), **half)], [scale()]),
        "crop, rotation": ([K.RandomResizedCrop((64, 64), scale=(0.2, 1.0), **half),
                            K.RandomRotation(180.0, p=1.0, **half)], [scale(), rotation()]),
        "brightness": ([K.ColorJitter(brightness=0.4, p=0.9)], [brightness()]),
        "contrast": ([K.ColorJitter(contrast=0.4, p=0.9)], [contrast()]),
        "saturation": ([K.ColorJitter(saturation=0.4, p=0.9)], [saturation()]),
        "hue": ([K.ColorJitter(hue=0.1, p=0.9)], [hue()]),
    }  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sequences(MagicMock()))
def test_replaying_what_kornia_recorded_gives_its_image(name, generator):
    K = pytest.importorskip("kornia.augmentation", reason=SKIP)
    torch.manual_seed(0)
    steps, factors = sequences(K)[name]
    x = torch.rand(16, 3, 6, 6, generator=generator)
    x = F.interpolate(x, size=(64, 64), mode="bicubic").clamp(0, 1)
    theirs = K.AugmentationSequential(*steps, data_keys=["input"])
    want = theirs(x)
    got = ParamView(factors).apply(x, read_kornia(theirs._params, factors))
    inside = disc((56, 56), x)  # at the rim kornia mixes in what is outside
    error = ((got - want)[:, :, 4:-4, 4:-4].abs() * inside).mean()
    assert float(error) < {"crop": 1e-4, "crop, rotation": 1e-3}.get(
        name, 1e-6
    )  # they resample twice
    assert float((x - want).abs().mean()) > 0.01
