import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from randaug_study import (
    AugMix,
    MixPlan,
    Plan,
    RandAugment,
    TrivialAugmentWide,
    UniformAugment,
    from_config,
    warp,
)
from randaug_study.run import run
from skimage import data
from torchvision import tv_tensors
from torchvision.transforms import v2

AUGMENTERS = [RandAugment(), TrivialAugmentWide(), UniformAugment(), AugMix()]


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, shape, generator=g, dtype=torch.uint8)


@given(st.integers(0, 4), st.sampled_from([1, 3]), st.integers(1, 9), st.integers(1, 9))
def test_no_steps_or_the_identity_change_nothing(batch, channels, height, width):
    x = random(batch, channels, height, width)
    for aug in (RandAugment(0), RandAugment(3, ops=("Identity",))):
        out = aug(x, key=1)
        assert torch.equal(out, x)
        assert out.dtype == x.dtype
        assert out.device == x.device
        assert not out.numel() or out.data_ptr() != x.data_ptr()


@pytest.mark.parametrize("aug", AUGMENTERS, ids=lambda a: type(a).__name__)
def test_a_batch_is_its_images_one_by_one_in_any_order(aug):
    x, ids = random(24, 3, 13, 11), torch.arange(100, 124)
    whole = aug(x, key=(3, 1), ids=ids)
    alone = [aug(x[i], key=(3, 1), ids=ids[i : i + 1]) for i in range(24)]
    assert torch.equal(torch.stack(alone), whole)
    order = torch.randperm(24, generator=torch.Generator().manual_seed(0))
    assert torch.equal(aug(x[order], key=(3, 1), ids=ids[order]), whole[order])
    assert not torch.equal(aug(x, key=(3, 2), ids=ids), whole)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_chunks_and_threads_change_no_byte(interpolation):
    x = random(60, 3, 17, 16)
    plan = TrivialAugmentWide().sample(60, key=0)
    want = run(x, plan, interpolation, None)
    threads = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            for images in (1, 7, 512):
                out = run(x, plan, interpolation, None, chunk_numbers=images * x[0].numel())
                assert torch.equal(out, want)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("aug", AUGMENTERS, ids=lambda a: type(a).__name__)
def test_a_recorded_plan_does_it_again_and_x_stays(aug):
    x = random(16, 3, 12, 12)
    before = x.clone()
    out, plan = aug(x, key=9, return_plan=True)
    read = (MixPlan if isinstance(plan, MixPlan) else Plan).from_json(plan.to_json())
    assert torch.equal(aug.apply(x, read), out)
    assert torch.equal(x, before)
    rows = torch.tensor([5, 2])
    assert torch.equal(aug.apply(x[rows], plan[rows]), out[rows])


def test_without_a_key_each_call_draws_anew_and_no_generator_moves():
    x, before = random(64, 1, 8, 8), torch.get_rng_state()
    a, b = RandAugment(), RandAugment()
    assert not torch.equal(a(x), a(x))
    assert not torch.equal(a(x), b(x))
    assert torch.equal(before, torch.get_rng_state())


def test_grey_is_the_colour_result_on_copied_channels_except_colour():
    grey = random(200, 1, 14, 14)
    names = [op for op in RandAugment().space.ops if op not in ("Contrast", "Color")]
    aug = RandAugment(2, 17, ops=tuple(names))
    plan = aug.sample(200, key=0)
    colour = aug.apply(grey.expand(-1, 3, -1, -1), plan)
    assert torch.equal(colour, aug.apply(grey, plan).expand(-1, 3, -1, -1))
    assert torch.equal(RandAugment(1, 17, ops=("Color",))(grey, key=0), grey)
    contrast = RandAugment(1, 17, ops=("Contrast",))  # the luma of three equal levels is one less
    pair = [contrast(x, key=0)[:, :1].int() for x in (grey, grey.expand(-1, 3, -1, -1))]
    assert (pair[0] - pair[1]).abs().max() <= 1


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea"])
@pytest.mark.parametrize("space", ["randaugment", "wide"])
def test_more_magnitude_is_never_weaker_on_natural_images(name, space):
    image = torch.from_numpy(getattr(data, name)().copy()).permute(2, 0, 1)[:, ::4, ::4]
    x = image[None, :, :75, :75].contiguous()
    for op in (
        o for o, g in zip(RandAugment().space.ops, RandAugment().space.graded, strict=True) if g
    ):
        aug = RandAugment(1, 9, ops=(op,), ranges=space, identity_at_zero=True)
        for sign in (1, -1) if aug.space.signed[0] else (1,):
            bins = torch.arange(31)[:, None]
            plan = Plan(torch.zeros_like(bins), torch.full_like(bins, sign), bins, aug.space)
            out = aug.apply(x.expand(31, -1, -1, -1), plan)
            distance = (out.float() - x.float()).abs().mean((1, 2, 3))
            assert float(distance[0]) == 0, op
            if op == "Rotate" and space == "wide":
                distance = distance[:10]  # beyond 45 degrees an image can resemble itself
            fall = (distance.cummax(0).values - distance).max() / distance.max()
            geometric = op in warp.WARPS  # what leaves can come to lie on what resembles it
            assert float(fall) <= (0.035 if geometric else 0), (op, sign, float(fall))


def test_in_a_compose_image_by_image():
    for image in (random(3, 20, 20), tv_tensors.Image(random(3, 20, 20))):
        compose = v2.Compose([RandAugment(), v2.ToDtype(torch.float32, scale=True)])
        out = compose(image)
        assert out.shape == (3, 20, 20)
        assert out.dtype == torch.float32
        assert type(RandAugment()(image, key=0)) is type(image)
    picture = Image.fromarray(random(20, 24, 3).numpy())
    out = v2.Compose([TrivialAugmentWide(), v2.ToImage()])(picture)
    assert out.shape == (3, 20, 24)
    with pytest.raises(TypeError):  # a label is no key
        RandAugment()(random(3, 8, 8), 5)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_picture_is_its_tensor(mode):
    picture = Image.fromarray(random(20, 24, 3).numpy()).convert(mode)
    tensor = torch.from_numpy(np.array(picture)).reshape(20, 24, -1).permute(2, 0, 1)
    out = RandAugment()(picture, key=4)
    assert out.mode == mode
    want = RandAugment()(tensor, key=4).permute(1, 2, 0).reshape(np.asarray(out).shape)
    assert np.array_equal(np.asarray(out), want.numpy())


def test_as_a_hook_after_the_batch_has_moved():
    class Module:
        aug = RandAugment()

        def on_after_batch_transfer(self, batch, dataloader_idx):
            x, y = batch
            return self.aug(x), y

    x, y = Module().on_after_batch_transfer((random(6, 3, 8, 8), torch.arange(6)), 0)
    assert x.dtype == torch.uint8
    assert y.tolist() == list(range(6))


def test_memory_formats_views_and_odd_sizes():
    x = random(12, 3, 10, 14)
    aug = RandAugment()
    want = aug(x, key=2)
    last = aug(x.contiguous(memory_format=torch.channels_last), key=2)
    assert torch.equal(last, want)
    assert last.is_contiguous(memory_format=torch.channels_last)
    turned = x.transpose(2, 3)
    assert torch.equal(aug(turned, key=2), aug(turned.contiguous(), key=2))
    for shape in ((0, 3, 8, 8), (40, 1, 1, 1), (40, 3, 2, 1), (40, 3, 1, 7), (3, 3, 0, 4)):
        assert aug(random(*shape), key=0).shape == shape
    with torch.inference_mode():
        for fresh in (random(30, 3, 21, 5), random(30, 3, 640, 5)):
            inside = aug(fresh, key=1)
    for fresh in (random(30, 3, 21, 5), random(30, 3, 640, 5)):
        outside = aug(fresh, key=1)
        assert aug(random(30, 3, *fresh.shape[2:], seed=1), key=2).shape == fresh.shape
    assert torch.equal(inside, outside)


@pytest.mark.parametrize("aug", AUGMENTERS, ids=lambda a: type(a).__name__)
def test_inside_a_module_it_lets_apply_of_modules_through(aug):
    seen = []
    torch.nn.Sequential(aug, torch.nn.Identity()).apply(lambda m: seen.append(type(m)))
    assert type(aug) in seen


def test_floats_are_taken_where_that_was_said():
    x = random(8, 3, 9, 9)
    aug = RandAugment(dtype="float")
    out = aug(x.double() / 255, key=0)
    assert out.dtype == torch.float64
    assert torch.equal((out * 255).round().to(torch.uint8), RandAugment()(x, key=0))
    assert torch.equal(aug(x, key=0), RandAugment()(x, key=0))
    with pytest.raises(ValueError, match="from 0 to 1, got 0 to 2"):
        aug(torch.tensor([0.0, 2.0]).view(1, 1, 1, 2), key=0)
    with pytest.raises(ValueError, match="detach"):
        aug(torch.zeros(1, 1, 4, 4, requires_grad=True), key=0)


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (torch.zeros(2, 4, 8, 8, dtype=torch.uint8), ValueError, "alpha"),
        (torch.zeros(8, 8, dtype=torch.uint8), ValueError, r"got \(8, 8\)"),
        (torch.zeros(2, 3, 8, 8), TypeError, "dtype='float'"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.int64), TypeError, "int64"),
        ([1, 2], TypeError, "got list"),
        (Image.new("RGBA", (4, 4)), ValueError, "RGBA"),
    ],
)
def test_other_input_is_refused(x, error, message):
    with pytest.raises(error, match=message):
        RandAugment()(x, key=0)


def test_a_plan_of_other_rows_and_a_fill_of_other_channels_are_refused():
    with pytest.raises(ValueError, match="4 rows, and x has 3"):
        RandAugment().apply(random(3, 3, 8, 8), RandAugment().sample(4, key=0))
    with pytest.raises(ValueError, match="fill must be a number or 3"):
        RandAugment(fill=(1, 2))(random(3, 3, 8, 8), key=0)
    with pytest.raises(ValueError, match=r"ids must be integers of shape \(3,\)"):
        RandAugment()(random(3, 3, 8, 8), key=0, ids=torch.arange(2))


def test_augmix_weighs_by_dirichlet_and_beta_and_draws_one_to_three():
    plan = AugMix().sample(20_000, key=0)
    assert torch.allclose(plan.weights.sum(1), torch.ones(20_000))
    assert float(plan.weights[:, 0].mean()) == pytest.approx(0.5, abs=0.01)
    assert float(plan.weights[:, 0].var()) == pytest.approx(1 / 12, rel=0.05)
    depths = (plan.chains[1].op != 0).sum(1)
    assert depths.unique().tolist() == [1, 2, 3]
    assert float(depths.double().mean()) == pytest.approx(2, abs=0.03)
    assert int(max(chain.bin.max() for chain in plan.chains)) == 2  # severity 3 of 10
    assert len({tuple(chain.op.flatten()[:40].tolist()) for chain in plan.chains}) == 3


def test_timms_strings_are_read():
    aug = from_config("rand-m9-n3-mstd0.5-inc1-p1.0", fill=3)
    assert (aug.num_ops, aug.magnitude, aug.noise, aug.fill) == (3, 90, 5, 3)
    assert round(aug.space.values("Rotate", 8, 8)[90], 4) == 27.0
    assert aug(random(4, 3, 16, 16), key=0).shape == (4, 3, 16, 16)
    assert from_config("rand-m10-mstdinf-inc1").magnitude is None
    mix = from_config("augmix-m5-w4-d2")
    assert (mix.severity, mix.mixture_width, mix.chain_depth) == (5, 4, 2)
    for text in ("original-mstd0.5", "rand-m9", "rand-m11-inc1", "rand-x3-inc1", "rand-m-inc1"):
        with pytest.raises(ValueError, match=text.split("-")[0]):
            from_config(text)


def test_importing_is_quick_and_needs_neither_torchvision_nor_opencv():
    code = (
        "import time, torch, sys; start = time.process_time(); import randaug_study;"
        "loaded = {'torchvision', 'cv2', 'PIL'} & set(sys.modules);"
        "print(time.process_time() - start, sorted(loaded))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, loaded = done.stdout.split(" ", 1)
    assert loaded.strip() == "[]"
    assert float(seconds) < 0.2
