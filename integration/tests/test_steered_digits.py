import numpy as np
import pytest
import torch
from act_steer.apply import apply
from deeppcr.diffusion import parallel_sample
from tenfold import steered_digits
from tenfold.data import diffusion
from tenfold.steered_digits import Sweep, fit, sweep

# diffusers on a newer numpy (November 2026)
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
TASKS = list(steered_digits.TASKS)


@pytest.fixture(scope="module")
def maps():
    """Maps of 16 samples a style and 5 steps, for each task."""
    return {task: fit(task, fitted=16, sampler_steps=5) for task in TASKS}


@pytest.mark.parametrize("task", TASKS)
def test_images_change_by_degrees_and_the_digit_stays(task, maps):
    found = sweep(task, maps[task], tested=12, sampler_steps=5)
    assert found.target_share[0] == 0
    assert found.target_share[-1] >= 0.75
    assert min(found.digit_kept) >= 0.6
    measure = found.stripes if task == "plain to striped" else [-x for x in found.dot]
    assert (np.diff(measure) > 0).all()
    assert found.images.shape == (5, 12, 16, 16)
    assert found.images.dtype == np.uint8
    assert found.picture(4).shape == (5 * 18, 4 * 18)
    assert str(found).count("\n") == 5
    assert {len(column) for column in found.to_table().values()} == {5}


def test_labels_by_lot_change_nothing():
    control = fit("plain to striped", fitted=16, sampler_steps=5, shuffled=True)
    found = sweep("plain to striped", control, strengths=(0.0, 1.0), tested=12, sampler_steps=5)
    assert found.target_share == (0.0, 0.0)
    assert found.stripes[1] - found.stripes[0] < 0.05


def test_the_model_is_as_it_was_at_strength_0(maps):
    task = TASKS[0]
    found = sweep(task, maps[task], strengths=(0.0,), tested=8, sampler_steps=5)
    noise = steered_digits.noise_of(8, steered_digits.TEST_SEED)
    denoise = diffusion.conditioned(diffusion.load(), steered_digits.classes_of("plain", 8))
    plain = diffusion.sample(denoise, diffusion.scheduler("ddim", 5), noise)
    assert np.array_equal(found.images[0], diffusion.pictures(plain))


def test_measures_know_what_they_measure():
    images, _ = diffusion.styled_digits()
    plain, striped, dot = torch.from_numpy(images).reshape(3, 720, 1, 16, 16)
    stripes = [steered_digits.stripe_contrast(x) for x in (plain, striped, dot)]
    assert stripes[1] > 0.4
    assert abs(stripes[0]) < 0.1
    corners = [steered_digits.corner_brightness(x) for x in (plain, striped, dot)]
    assert corners[2] == 1
    assert corners[0] < -0.8


def test_tasks_have_names():
    for f in (fit, lambda task: sweep(task, None)):
        with pytest.raises(ValueError, match="plain to striped, dot to plain; got 'x'"):
            f("x")
    assert isinstance(Sweep.__doc__, str)


@pytest.mark.parametrize("name", ["ddim", "euler"])
def test_a_steered_pipeline_sampled_in_parallel_equals_the_sequential_one(name, maps):
    steps, classes = 20, steered_digits.classes_of("plain", 4)
    model, noise = diffusion.load(), steered_digits.noise_of(4, 5)
    denoise = diffusion.conditioned(model, classes)
    start = noise * diffusion.scheduler(name, steps).init_noise_sigma
    images = {}
    for strength in (0.0, 1.0):
        with apply(maps["plain to striped"], model, strength=strength):
            one_by_one = diffusion.sample(denoise, diffusion.scheduler(name, steps), noise)
            together = parallel_sample(denoise, diffusion.scheduler(name, steps), start, tol=1e-4)
        assert together.report.converged
        assert not together.report.fell_back
        assert together.rounds <= steps
        torch.testing.assert_close(together.sample, one_by_one, atol=2e-3, rtol=0)
        images[strength] = one_by_one
    assert (images[1.0] - images[0.0]).abs().mean() > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_64_new_samples_take_the_style_and_keep_the_digit(task):
    """The bars: share 0 to at least .85, digit kept at least .6; n = 64, seeds 1 and 99."""
    found = sweep(task, fit(task))
    assert found.target_share[0] == 0
    assert found.target_share[-1] >= 0.85
    assert found.digit_kept[-1] >= 0.6
    measure = found.stripes if task == "plain to striped" else [-x for x in found.dot]
    assert (np.diff(measure) > 0).all()
    first = sweep(task, fit(task, steps="first"), strengths=(0.0, 0.5, 1.0))
    measures = first.stripes if task == "plain to striped" else [-x for x in first.dot]
    assert measures[-1] - measures[0] < measure[-1] - measure[0]
