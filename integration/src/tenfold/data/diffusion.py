"""A tiny diffusion model of styled digits, trained once and committed, and the images behind it."""

import hashlib
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch
    from diffusers import UNet2DModel
    from torch import Tensor

FOLDER = Path(__file__).parent / "diffusion"
STYLES = ("plain", "striped", "dot")
DIGITS = (0, 1, 2, 3)
CLASSES = tuple(f"{digit} {style}" for style in STYLES for digit in DIGITS)
SIDE = 16
CONFIG: dict[str, Any] = {
    "sample_size": SIDE,
    "in_channels": 1,
    "out_channels": 1,
    "layers_per_block": 1,
    "block_out_channels": (32, 64),
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    "norm_num_groups": 8,
    "num_class_embeds": len(CLASSES),
}
NOISE: dict[str, Any] = {
    "num_train_timesteps": 200,
    "beta_start": 5e-4,
    "beta_end": 0.08,
    "prediction_type": "v_prediction",
}
"""What every scheduler of this model is made with: samplers that do not clip stay bounded."""
SAMPLERS = ("ddim", "euler", "ddpm")


def styled_digits() -> tuple[np.ndarray, np.ndarray]:
    """Return images ``(2160, 1, 16, 16)`` float32 in [-1, 1], and classes ``(2160,)`` int64.

    scikit-learn's digits 0 to 3, twice as large, in three styles: as they are, on a striped
    ground, and with a dot in a corner. The class is ``4 * style + digit``.
    """
    from sklearn.datasets import load_digits

    digits: Any = load_digits()
    chosen = np.isin(digits.target, DIGITS)
    small = digits.images[chosen].astype(np.float32) / 8 - 1  # (720, 8, 8)
    plain = small.repeat(2, 1).repeat(2, 2)
    stripes = np.where(np.arange(SIDE) // 2 % 2 == 0, 0.2, -1.0).astype(np.float32)
    striped = np.maximum(plain, stripes[:, None])
    dotted = plain.copy()
    dotted[:, :3, :3] = 1
    images = np.stack([plain, striped, dotted]).reshape(-1, 1, SIDE, SIDE)
    labels = np.stack([digits.target[chosen] + len(DIGITS) * n for n in range(len(STYLES))])
    return images, labels.reshape(-1).astype(np.int64)


def load() -> "UNet2DModel":
    """Return the trained model: ``(x, timestep, class_labels)`` to ``.sample``, a velocity.

    Raises:
        ValueError: if the weights beside this module are not those that were committed.
    """
    from diffusers import UNet2DModel
    from safetensors.torch import load as read

    path = FOLDER / "model.safetensors"
    raw = path.read_bytes()
    wanted = json.loads((FOLDER / "model.json").read_text(encoding="utf-8"))["sha256"]
    if (found := hashlib.sha256(raw).hexdigest()) != wanted:
        raise ValueError(f"{path.name} has SHA-256 {found}, not {wanted}: train it again")
    model: Any = UNet2DModel(**CONFIG)
    model.load_state_dict(read(raw))
    return model.eval().requires_grad_(False)


def scheduler(name: str, steps: int) -> Any:
    """Return a scheduler of diffusers for the model, its timesteps set, that does not clip.

    Args:
        name: ``"ddim"``, ``"euler"`` or ``"ddpm"``.
        steps: how many, at most 200.

    Raises:
        ValueError: if the name is another.
    """
    from diffusers import DDIMScheduler, DDPMScheduler, EulerDiscreteScheduler

    if name not in SAMPLERS:
        raise ValueError(f"name must be one of {', '.join(SAMPLERS)}; got {name!r}")
    kinds: Any = (DDIMScheduler, EulerDiscreteScheduler, DDPMScheduler)
    options: dict[str, Any] = {} if name == "euler" else {"clip_sample": False}
    made = kinds[SAMPLERS.index(name)](**NOISE, **options)
    made.set_timesteps(steps)
    return made


def conditioned(model: Any, classes: "Tensor") -> "Callable[[Tensor, Tensor], Tensor]":
    """Return ``(x, t) -> output`` of a class-conditional model, for samples of these classes.

    Args:
        model: ``(x, timestep, class_labels)`` to ``.sample``.
        classes: ``(B,)``; row i of ``x``, and row i + B, i + 2B and so on, is of class i.
    """

    def output(x: "Tensor", t: "Tensor") -> "Tensor":
        labels = classes.to(x.device).repeat(len(x) // len(classes))
        return model(x, t, class_labels=labels).sample

    return output


def sample(
    denoise: "Callable[[Tensor, Tensor], Tensor]",
    scheduler: Any,
    x: "Tensor",
    *,
    generator: "torch.Generator | None" = None,
) -> "Tensor":
    """Return the samples of the plain loop over the scheduler's timesteps.

    Args:
        denoise: ``(x, t) -> output`` for samples ``(B, 1, 16, 16)``.
        scheduler: of diffusers, its timesteps set.
        x: noise ``(B, 1, 16, 16)`` of unit variance; it is scaled here.
        generator: of the noise of samplers that add some.
    """
    import torch

    noisy = "generator" in inspect.signature(scheduler.step).parameters
    options = {"generator": generator} if noisy else {}
    x = x * scheduler.init_noise_sigma
    with torch.no_grad():
        for t in scheduler.timesteps:
            output = denoise(scheduler.scale_model_input(x, t), t)
            x = scheduler.step(output, t, x, **options).prev_sample
    return x


def pictures(samples: "Tensor") -> np.ndarray:
    """Return samples ``(B, 1, 16, 16)`` in [-1, 1] as uint8 ``(B, 16, 16)``; beyond it clipped."""
    grey = (samples[:, 0].clamp(-1, 1) + 1) * 127.5
    return grey.round().byte().cpu().numpy()


def recognised(samples: np.ndarray, classes: np.ndarray) -> tuple[float, float]:
    """Return the shares of samples whose digit, and whose style, a classifier recognises.

    The classifier is the class of the nearest of `styled_digits`.

    Args:
        samples: ``(B, 1, 16, 16)`` in [-1, 1].
        classes: ``(B,)``, what they were meant to be.
    """
    images, labels = styled_digits()
    known, asked = images.reshape(len(images), -1), samples.reshape(len(samples), -1)
    distances = (known**2).sum(1) - 2 * asked @ known.T  # less the sample's own square
    found = labels[distances.argmin(1)]
    digit = found % len(DIGITS) == classes % len(DIGITS)
    style = found // len(DIGITS) == classes // len(DIGITS)
    return float(digit.mean()), float(style.mean())
