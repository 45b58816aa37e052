"""Train the tiny diffusion model of styled digits: about five minutes on one core.

    uv run python integration/tools/make_diffusion.py

The same versions on the same processor give the same weights; their SHA-256, the recipe, the
licence of the images and what was reached stand in model.json beside them, and samples.png shows
eight samples of every class.
"""

import argparse
import hashlib
import json
import os
import sys
from io import BytesIO
from pathlib import Path

import diffusers
import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, UNet2DModel
from PIL import Image
from safetensors.torch import save
from tenfold.data.diffusion import (
    CLASSES,
    CONFIG,
    FOLDER,
    NOISE,
    SIDE,
    conditioned,
    pictures,
    recognised,
    sample,
    scheduler,
    styled_digits,
)
from tqdm import trange

RECIPE = {"steps": 1000, "batch": 64, "optimizer": "AdamW", "lr": 1e-3, "weight_decay": 0.01,
          "average": 0.99, "seed": 0, "threads": 1}  # fmt: skip
LICENCE = {
    "images": "scikit-learn's load_digits, from UCI's Optical Recognition of Handwritten Digits "
    "(CC BY 4.0)",
    "weights": "Apache-2.0, as this repository",
}
COLUMNS, ZOOM = 8, 3  # of samples.png


def train(steps: int) -> tuple[dict[str, torch.Tensor], float]:
    """The averaged weights, and the mean loss of the last hundred steps."""
    torch.manual_seed(RECIPE["seed"])
    images, labels = (torch.from_numpy(part) for part in styled_digits())
    model, noise = UNet2DModel(**CONFIG), DDPMScheduler(**NOISE)
    optimizer = torch.optim.AdamW(
        model.parameters(), RECIPE["lr"], weight_decay=RECIPE["weight_decay"]
    )
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    average = {name: value.clone() for name, value in model.state_dict().items()}
    losses = []
    for _ in trange(steps, disable=None):
        rows = torch.randint(len(images), (RECIPE["batch"],))
        x, eps = images[rows], torch.randn(RECIPE["batch"], *images.shape[1:])
        times = torch.randint(NOISE["num_train_timesteps"], (RECIPE["batch"],))
        guess = model(noise.add_noise(x, eps, times), times, class_labels=labels[rows]).sample
        loss = F.mse_loss(guess, noise.get_velocity(x, eps, times))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        rate.step()
        for name, value in model.state_dict().items():
            average[name].lerp_(value, 1 - RECIPE["average"])
        losses.append(loss.item())
    return average, sum(losses[-100:]) / len(losses[-100:])


def judged(weights: dict[str, torch.Tensor]) -> tuple[dict[str, float], bytes]:
    """Shares of recognised samples, and a picture: eight columns, a class a row."""
    model = UNet2DModel(**CONFIG)
    model.load_state_dict(weights)
    classes = torch.arange(len(CLASSES)).repeat_interleave(COLUMNS)
    g = torch.Generator().manual_seed(1)
    noise = torch.randn(len(classes), 1, SIDE, SIDE, generator=g)
    drawn = sample(conditioned(model.eval(), classes), scheduler("ddim", 50), noise)
    digit, style = recognised(drawn.numpy(), classes.numpy())
    rows = pictures(drawn).reshape(len(CLASSES), COLUMNS, SIDE, SIDE)
    framed = np.pad(rows, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=96)
    sheet = framed.transpose(0, 2, 1, 3).reshape(len(CLASSES) * (SIDE + 2), -1)
    buffer = BytesIO()
    Image.fromarray(sheet.repeat(ZOOM, 0).repeat(ZOOM, 1)).save(buffer, "PNG", optimize=True)
    shares = {"digit": round(digit, 4), "style": round(style, 4), "samples": len(classes)}
    return shares, buffer.getvalue()


def ordered(raw: bytes) -> bytes:
    """The same safetensors file with its header's keys in order: the library's order is random."""
    end = 8 + int.from_bytes(raw[:8], "little")
    header = json.dumps(json.loads(raw[8:end]), sort_keys=True).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + raw[end:]


def main() -> int:
    """Train, and write the weights, what is known of them, and a picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--steps", type=int, default=RECIPE["steps"])
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder to write into")
    args = parser.parse_args()
    torch.set_num_threads(int(RECIPE["threads"]))
    weights, loss = train(args.steps)
    shares, picture = judged(weights)
    raw = ordered(save(weights, metadata={"format": "tenfold diffusion", "version": "1"}))
    about = {
        "recipe": {**RECIPE, "steps": args.steps},
        "licence": LICENCE,
        "model": CONFIG,
        "noise": NOISE,
        "loss": round(loss, 5),
        "recognised by the nearest image, 50 steps of DDIM": shares,
        "versions": {"torch": torch.__version__, "diffusers": diffusers.__version__},
        "sha256": hashlib.sha256(raw).hexdigest(),
    }
    args.out.mkdir(parents=True, exist_ok=True)
    for name, content in (
        ("model.safetensors", raw),
        ("samples.png", picture),
        ("model.json", (json.dumps(about, indent=1) + "\n").encode()),
    ):
        draft = args.out / f"{name}.part"
        draft.write_bytes(content)
        os.replace(draft, args.out / name)
    print(f"loss {loss:.4f}, {len(raw)} bytes, recognised {shares}, SHA-256 {about['sha256']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
