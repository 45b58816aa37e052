"""Rounds of the model that diffusion sampling takes when its steps are solved together.

    python packages/deeppcr/benchmarks/sampler.py [--quick] [--json FILE] [--readme]

The model is the optimal denoiser of a mixture of images, in closed form. What is counted are the
calls that have to wait for one another: on a machine that runs a batch as fast as one row, that is
the time. On a CPU it is not, so none is printed.
"""

import argparse
import copy
import inspect
import json
from importlib import metadata
from pathlib import Path

import torch
from deeppcr.__main__ import write
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
    """Rounds with either Jacobian, and the error of the first."""
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
    rounds = [int(result.rounds) for result in results]
    return {"sampler": name, "steps": steps, "rounds": rounds, "error": error}


def markdown(rows):
    """The README's table."""
    lines = ["| sampler | steps | rounds | rounds, Picard | error |", "|---|---|---|---|---|"]
    for r in rows:
        rounds = " | ".join(map(str, r["rounds"]))
        lines.append(f"| {r['sampler']} | {r['steps']} | {rounds} | {r['error']:.0e} |")
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="50 steps only")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--readme", action="store_true", help="fill the README's table")
    options = parser.parse_args()
    images = (torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0)) > 0.5) * 2.0 - 1
    rows = [
        row(*sampler, steps, images)
        for sampler in SAMPLERS
        for steps in ((50,) if options.quick else (50, 100))
    ]
    lines = markdown(rows)
    print("\n".join(lines))
    if options.json:
        names = {f"{r['sampler']}, {r['steps']} steps": r["steps"] / r["rounds"][0] for r in rows}
        races = [{"what": f"steps / rounds, {name}", "value": v} for name, v in names.items()]
        versions = {name: metadata.version(name) for name in ("deeppcr", "diffusers", "torch")}
        report = {"threads": torch.get_num_threads(), "versions": versions, "races": races}
        write(options.json, json.dumps(report | {"rows": rows}, indent=2))
    if options.readme:
        text = README.read_text()
        begin, end = "<!-- sampler: begin -->\n", "<!-- sampler: end -->"
        before, rest = text.split(begin)
        write(README, before + begin + "\n".join(lines) + "\n" + end + rest.split(end)[1])


if __name__ == "__main__":
    main()
