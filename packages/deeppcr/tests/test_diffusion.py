import copy
import inspect

import deeppcr as dp
import pytest
import torch

diffusers = pytest.importorskip("diffusers")
from deeppcr.diffusion import parallel_sample  # noqa: E402
from deeppcr.toy import mixture_denoiser  # noqa: E402
from diffusers import (  # noqa: E402
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    PNDMScheduler,
    UniPCMultistepScheduler,
)

# diffusers' own calls of numpy in set_timesteps (November 2026)
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
IMAGES = (torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0)) > 0.5).float() * 2 - 1


def looped(model, scheduler, x, *, generator=None, **options):
    """The plain sampling loop of diffusers' documentation."""
    scheduler = copy.deepcopy(scheduler)
    if "generator" in inspect.signature(scheduler.step).parameters:
        options["generator"] = generator
    with torch.no_grad():
        for t in scheduler.timesteps:
            output = model(scheduler.scale_model_input(x, t), t)
            x = scheduler.step(output, t, x, **options).prev_sample
    return x


def setting(kind, steps, **config):
    scheduler = kind(**config)
    scheduler.set_timesteps(steps)
    x = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    return mixture_denoiser(scheduler, IMAGES), scheduler, x * float(scheduler.init_noise_sigma)


@pytest.mark.parametrize("steps", [50, 100])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
def test_ddim_in_every_parametrisation_takes_a_fifth_of_the_rounds(
    steps, prediction, spacing
):  # check 10
    model, scheduler, x = setting(
        DDIMScheduler, steps, clip_sample=False, prediction_type=prediction,
        timestep_spacing=spacing, set_alpha_to_one=False,
    )  # fmt: skip
    result = parallel_sample(model, scheduler, x, tol=1e-5)
    assert result.report.converged
    assert not result.report.fell_back
    assert result.rounds <= 20
    assert result.steps == steps
    assert (result.sample - looped(model, scheduler, x)).abs().max() < 1e-3


@pytest.mark.parametrize("steps", [50, 100])
@pytest.mark.parametrize(
    "kind", [EulerDiscreteScheduler, DDPMScheduler, EulerAncestralDiscreteScheduler]
)
def test_other_samplers_with_the_noise_of_the_loop(kind, steps):
    config = {"clip_sample": False} if kind is DDPMScheduler else {}
    model, scheduler, x = setting(kind, steps, **config)
    ours, theirs = (torch.Generator().manual_seed(5) for _ in range(2))
    result = parallel_sample(model, scheduler, x, tol=1e-4, generator=ours)
    want = looped(model, scheduler, x, generator=theirs)
    assert result.report.converged
    assert result.rounds <= 20
    assert (result.sample - want).abs().max() < 1e-3
    assert torch.equal(ours.get_state(), theirs.get_state())


def test_a_scheduler_that_clips_is_followed_too():
    for kind in (DDIMScheduler, DDPMScheduler):
        model, scheduler, x = setting(kind, 30)
        draws = [torch.Generator().manual_seed(5) for _ in range(2)]
        result = parallel_sample(model, scheduler, x, tol=1e-5, generator=draws[0])
        want = looped(model, scheduler, x, generator=draws[1])
        assert result.report.converged
        assert (result.sample - want).abs().max() < 1e-3


def test_more_arguments_go_to_the_step():
    model, scheduler, x = setting(DDIMScheduler, 40, clip_sample=False)
    draws = [torch.Generator().manual_seed(5) for _ in range(2)]
    result = parallel_sample(model, scheduler, x, tol=1e-5, generator=draws[0], eta=1.0)
    want = looped(model, scheduler, x, generator=draws[1], eta=1.0)
    assert (result.sample - want).abs().max() < 1e-3
    assert (want - looped(model, scheduler, x)).abs().max() > 0.1


@pytest.mark.parametrize("kind", [DDIMScheduler, EulerDiscreteScheduler])
def test_a_window_of_one_is_the_sequential_sampler(kind):
    model, scheduler, x = setting(kind, 20)
    result = parallel_sample(model, scheduler, x, window=1)
    assert (result.sample - looped(model, scheduler, x)).abs().max() <= 1e-6
    assert result.rounds == 20


def test_windows_and_small_batches_give_the_same_sample():
    model, scheduler, x = setting(DDIMScheduler, 50, clip_sample=False)
    want = looped(model, scheduler, x)
    calls = []

    def counted(x, t):
        calls.append(len(x))
        return model(x, t)

    result = parallel_sample(counted, scheduler, x, window=13, model_batch=7, tol=1e-5)
    assert max(calls) == 6  # whole steps of three samples
    assert all(rows % 3 == 0 for rows in calls)
    assert sum(calls) == result.model_rows
    assert (result.sample - want).abs().max() < 1e-3


@pytest.mark.parametrize("model_batch", [None, 7])
def test_rows_come_step_by_step_so_that_conditions_repeat(model_batch):
    _, scheduler, x = setting(DDIMScheduler, 12, clip_sample=False)
    level = torch.tensor([-1.0, 0.0, 1.0])  # a condition a sample

    def conditioned(x, t):
        return torch.tanh(x - level.repeat(len(x) // 3).view(-1, 1, 1, 1))

    want = looped(conditioned, scheduler, x)
    found = parallel_sample(conditioned, scheduler, x, tol=1e-5, model_batch=model_batch)
    assert not found.report.fell_back
    assert (found.sample - want).abs().max() < 1e-4


def test_the_linear_part_needs_fewer_rounds_than_picard_and_the_dense_one_the_fewest():
    model, scheduler, x = setting(EulerDiscreteScheduler, 40)
    x = x[:1]
    rounds = {}
    for jacobian in ("scheduler", "identity", "dense"):
        result = parallel_sample(model, scheduler, x, jacobian=jacobian, tol=1e-3)
        assert (result.sample - looped(model, scheduler, x)).abs().max() < 1e-2
        rounds[jacobian] = result.rounds
    assert rounds["dense"] <= rounds["scheduler"] < rounds["identity"]


def test_a_dense_jacobian_solves_a_linear_model_in_one_iteration():
    _, scheduler, x = setting(DDIMScheduler, 30, clip_sample=False)
    weight = 0.3 * torch.randn(64, 64, generator=torch.Generator().manual_seed(2)) / 8

    def linear(x, t):
        return (x.flatten(1) @ weight.T).reshape(x.shape)

    result = parallel_sample(linear, scheduler, x, jacobian="dense", tol=1e-4)
    assert result.report.iterations == 1
    assert (result.sample - looped(linear, scheduler, x)).abs().max() < 1e-3


def test_rounds_that_do_not_suffice_fall_back_to_the_bits_of_the_loop_or_raise():
    model, scheduler, x = setting(DDIMScheduler, 30)
    result = parallel_sample(model, scheduler, x, max_rounds=2)
    assert result.report.fell_back
    assert torch.equal(result.sample, looped(model, scheduler, x))
    with pytest.raises(dp.ConvergenceError, match="max_iter"):
        parallel_sample(model, scheduler, x, max_rounds=2, on_failure="raise")


def test_a_model_of_diffusers_may_be_given_as_it_is():
    torch.manual_seed(0)
    unet = diffusers.UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, layers_per_block=1,
        block_out_channels=(8, 8), norm_num_groups=4,
        down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2,
    ).eval()  # fmt: skip
    _, scheduler, x = setting(DDIMScheduler, 10, clip_sample=False)
    result = parallel_sample(unet, scheduler, x[:1], tol=1e-5)
    want = looped(lambda x, t: unet(x, t).sample, scheduler, x[:1])
    assert (result.sample - want).abs().max() < 1e-3


def test_the_scheduler_is_left_as_it_was():
    model, scheduler, x = setting(EulerDiscreteScheduler, 10)
    before = {k: copy.deepcopy(v) for k, v in vars(scheduler).items()}
    parallel_sample(model, scheduler, x)
    for name, value in before.items():
        now = vars(scheduler)[name]
        assert torch.equal(now, value) if isinstance(value, torch.Tensor) else now == value


@pytest.mark.parametrize(
    "kind",
    [
        DPMSolverMultistepScheduler,
        UniPCMultistepScheduler,
        HeunDiscreteScheduler,
        PNDMScheduler,
    ],
)
def test_schedulers_that_remember_are_refused(kind):
    model, scheduler, x = setting(kind, 10)
    with pytest.raises(ValueError, match="keeps earlier outputs of the model"):
        parallel_sample(model, scheduler, x)


def test_noise_needs_a_generator():
    model, scheduler, x = setting(DDPMScheduler, 10)
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match="DDPMScheduler draws noise: pass generator="):
        parallel_sample(model, scheduler, x)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"jacobian": "exact"}, "jacobian must be one of"),
        ({"window": 0}, "window must be >= 1 or None, got 0"),
        ({"model_batch": 0}, "model_batch must be >= 1"),
        ({"model_batch": 2}, "at least the 3 samples of x_T, got 2: sample fewer"),
        ({"tol": 0.0}, "tol must be positive, got 0.0"),
        ({"on_failure": "warn"}, "on_failure must be"),
    ],
)
def test_says_which_argument_does_not_do(options, text):
    model, scheduler, x = setting(DDIMScheduler, 5)
    with pytest.raises(ValueError, match=text):
        parallel_sample(model, scheduler, x, **options)


def test_says_what_the_scheduler_or_the_model_lacks():
    model, _, x = setting(DDIMScheduler, 5)
    with pytest.raises(ValueError, match="call its set_timesteps first"):
        parallel_sample(model, DDIMScheduler(), x)
    _, scheduler, x = setting(DDIMScheduler, 5)
    with pytest.raises(ValueError, match=r"no learned variance\), got \(15, 2, 8, 8\)"):
        parallel_sample(lambda x, t: torch.cat([x, x], 1), scheduler, x)


def test_a_result_reads_as_a_line():
    model, scheduler, x = setting(DDIMScheduler, 20, clip_sample=False)
    result = parallel_sample(model, scheduler, x)
    assert str(result).startswith(f"{result.rounds} rounds for 20 steps, {result.model_rows} rows")
    assert len(result.to_table()["residual"]) == len(result.report.residuals)
