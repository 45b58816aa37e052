"""A tiny diffusion model of styled digits, trained once and committed, and the images behind it."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from diffusers import UNet2DModel

FOLDER = Path(__file__).parent / "diffusion"
STYLES = ("plain", "striped", "dot")
DIGITS = (0, 1, 2, 3)
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
    "num_class_embeds": len(STYLES) * len(DIGITS),
}
NOISE: dict[str, Any] = {"num_train_timesteps": 200, "beta_schedule": "squaredcos_cap_v2"}
"""Arguments that every scheduler of this model shares."""


def styled_digits() -> tuple[np.ndarray, np.ndarray]:
    """Return images ``(2160, 1, 16, 16)`` float32 in [-1, 1], and classes ``(2160,)`` int64.

    scikit-learn's digits 0 to 3, twice as large, in three styles: as they are, on a striped
    ground, and with a dot in a corner. The class is ``4 * style + digit``.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
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


def denoiser() -> "UNet2DModel":
    """Return the trained noise predictor: ``(x, timestep, class_labels)`` to ``.sample``.

    Raises:
        ValueError: if the weights beside this module are not those that were committed.
    """
    from diffusers import UNet2DModel
    from safetensors.torch import load

    path = FOLDER / "model.safetensors"
    raw = path.read_bytes()
    wanted = json.loads((FOLDER / "model.json").read_text(encoding="utf-8"))["sha256"]
    if (found := hashlib.sha256(raw).hexdigest()) != wanted:
        raise ValueError(f"{path.name} has SHA-256 {found}, not {wanted}: train it again")
    model = UNet2DModel(**CONFIG)
    model.load_state_dict(load(raw))
    return model.eval()
