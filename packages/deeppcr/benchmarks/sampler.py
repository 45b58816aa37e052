"""Rounds of the model that diffusion sampling takes when its steps are solved together.

    python packages/deeppcr/benchmarks/sampler.py [--readme]

The model is the optimal denoiser of a mixture of images, in closed form. What is counted are the
calls that have to wait for one another: on a machine that runs a batch as fast as one row, that is
the time. On a CPU it is not, so none is printed.
"""

import argparse
import copy
import inspect
import os
from pathlib import Path

import torch
from deeppcr.diffusion import parallel_sample
from deeppcr.toy import mixture_denoiser
from diffusers import DDIMScheduler, DDPMScheduler, EulerDiscreteScheduler

README = Path(__file__).parents[1] / "README.md"
SAMPLERS = [
    ("DDIM", DDIMScheduler, {"clip_sample": False}),
    ("Euler", EulerDiscreteScheduler, {}),
    ("DDPM, the same noise", DDPMScheduler, {"clip_sample": False}),
    ("DDIM that clips", DDIMScheduler, {"clip_sample": True}),
]


def looped(model, scheduler, x, seed):
    """The plain sampling loop."""
    scheduler = copy.deepcopy(scheduler)
    noise = {"generator": torch.Generator().manual_seed(seed)}
    noise = noise if "generator" in inspect.signature(scheduler.step).parameters else {}
    for t in scheduler.timesteps:
        output = model(scheduler.scale_model_input(x, t), t)
        x = scheduler.step(output, t, x, **noise).prev_sample
    return x


def row(name, kind, config, steps, images):
    """One line of the table."""
    scheduler = kind(**config)
    scheduler.set_timesteps(steps)
    x = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    x = x * float(scheduler.init_noise_sigma)
    model = mixture_denoiser(scheduler, images)
    results = [
        parallel_sample(
            model, scheduler, x, tol=1e-4, jacobian=jacobian,
            generator=torch.Generator().manual_seed(5),
        )
        for jacobian in ("scheduler", "identity")
    ]  # fmt: skip
    error = float((results[0].sample - looped(model, scheduler, x, 5)).abs().max())
    rounds = " | ".join(str(result.rounds) for result in results)
    return f"| {name} | {steps} | {rounds} | {error:.0e} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--readme", action="store_true", help="fill the README's table")
    options = parser.parse_args()
    images = (torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0)) > 0.5) * 2.0 - 1
    lines = ["| sampler | steps | rounds | rounds, Picard | error |", "|---|---|---|---|---|"]
    lines += [row(*sampler, steps, images) for sampler in SAMPLERS for steps in (50, 100)]
    print("\n".join(lines))
    if options.readme:
        text = README.read_text()
        begin, end = "<!-- sampler: begin -->\n", "<!-- sampler: end -->"
        before, rest = text.split(begin)
        partial = README.with_suffix(".partial")
        partial.write_text(before + begin + "\n".join(lines) + "\n" + end + rest.split(end)[1])
        os.replace(partial, README)


if __name__ == "__main__":
    main()
