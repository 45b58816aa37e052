"""Train the tiny diffusion model of styled digits: about five minutes on one core.

    uv run python integration/tools/make_diffusion.py

The same versions on the same processor give the same weights; their SHA-256, the recipe and what
it reached stand in model.json beside them.
"""

import argparse
import hashlib
import json
import os
import sys

import diffusers
import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, UNet2DModel
from safetensors.torch import save
from tenfold.data.diffusion import CONFIG, FOLDER, NOISE, styled_digits
from tqdm import trange

RECIPE = {"steps": 1000, "batch": 64, "optimizer": "AdamW", "lr": 1e-3, "weight_decay": 0.01,
          "average": 0.99, "seed": 0, "threads": 1}  # fmt: skip


def train(steps: int) -> tuple[dict[str, torch.Tensor], float]:
    """The averaged weights, and the mean loss of the last hundred steps."""
    torch.manual_seed(RECIPE["seed"])
    images, labels = (torch.from_numpy(part) for part in styled_digits())
    model, noise = UNet2DModel(**CONFIG), DDPMScheduler(**NOISE)
    optimizer = torch.optim.AdamW(model.parameters(), RECIPE["lr"])
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    average = {name: value.clone() for name, value in model.state_dict().items()}
    losses = []
    for _ in trange(steps, disable=None):
        rows = torch.randint(len(images), (RECIPE["batch"],))
        x, eps = images[rows], torch.randn(RECIPE["batch"], *images.shape[1:])
        times = torch.randint(NOISE["num_train_timesteps"], (RECIPE["batch"],))
        guess = model(noise.add_noise(x, eps, times), times, class_labels=labels[rows]).sample
        loss = F.mse_loss(guess, eps)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        rate.step()
        for name, value in model.state_dict().items():
            average[name].lerp_(value, 1 - RECIPE["average"])
        losses.append(loss.item())
    return average, sum(losses[-100:]) / len(losses[-100:])


def main() -> int:
    """Train, and write the weights and what is known of them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--steps", type=int, default=RECIPE["steps"])
    steps = parser.parse_args().steps
    torch.set_num_threads(RECIPE["threads"])
    weights, loss = train(steps)
    raw = save(weights, metadata={"format": "tenfold diffusion", "version": "1"})
    about = {
        "recipe": {**RECIPE, "steps": steps},
        "model": CONFIG,
        "noise": NOISE,
        "loss": round(loss, 5),
        "versions": {"torch": torch.__version__, "diffusers": diffusers.__version__},
        "sha256": hashlib.sha256(raw).hexdigest(),
    }
    FOLDER.mkdir(exist_ok=True)
    for name, content in (
        ("model.safetensors", raw),
        ("model.json", (json.dumps(about, indent=1) + "\n").encode()),
    ):
        draft = FOLDER / f"{name}.part"
        draft.write_bytes(content)
        os.replace(draft, FOLDER / name)
    print(f"loss {loss:.4f}, {len(raw)} bytes, SHA-256 {about['sha256']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
