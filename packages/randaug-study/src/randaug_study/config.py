"""timm's strings, such as ``rand-m9-n2-mstd0.5-inc1``, read into augmenters of this package."""

import math
import re
from typing import Any

from randaug_study.augment import RandAugment
from randaug_study.augmix import AugMix

TIMM = (
    "AutoContrast", "Equalize", "Invert", "Rotate", "Posterize", "Solarize", "SolarizeAdd",
    "Color", "Contrast", "Brightness", "Sharpness", "ShearX", "ShearY", "TranslateX", "TranslateY",
)  # fmt: skip
LEVELS = 10  # timm's magnitudes go from 0 to 10
PER_LEVEL = 10  # bins of ours to one of them


def from_config(config: str, **others: Any) -> RandAugment | AugMix:
    """The augmenter that a config string of timm describes.

    Args:
        config: ``rand`` or ``augmix``, then parts joined by ``-``. For ``rand``: ``m`` magnitude
            (10), ``n`` operations (2), ``p`` probability of each (0.5), ``mstd`` standard deviation
            of the magnitude, above 100 or ``inf`` for a uniform one, ``inc1`` for ranges in which
            more is stronger. For ``augmix``: ``m`` magnitude (3), ``w`` width (3), ``d`` depth
            (-1), ``a`` alpha (1).
        **others: arguments of the augmenter besides, such as ``interpolation`` and ``fill``.

    Returns:
        A ``RandAugment`` with ``ranges="timm"`` and magnitudes in tenths of a level, or an
        ``AugMix``. The operations and ranges are timm's; the pixels are this package's, on
        tensors, where timm's are PIL's.

    Raises:
        ValueError: for another family, a part that is not known, or ``rand`` without ``inc1``:
            timm's tables of that name paint an image black at magnitude 0 of brightness.

    Example:
        >>> from_config("rand-m9-mstd0.5-inc1")
        RandAugment(num_ops=2, magnitude=90 of 101 bins, nearest, 16 ops, ranges timm)
    """
    family, *parts = config.split("-")
    known = {"rand": ("m", "n", "p", "mstd", "inc"), "augmix": ("m", "w", "d", "a")}
    if family not in known:
        raise ValueError(f"config must begin with rand or augmix, got {config!r}")
    read: dict[str, float] = {}
    for part in parts:
        match = re.fullmatch(r"([a-z]+)(inf|[0-9.]+)", part)
        if match is None or match[1] not in known[family] or match[2].count(".") > 1:
            allowed = ", ".join(known[family])
            raise ValueError(f"{config!r}: {part!r} is not one of {allowed} and a number")
        read[match[1]] = float(match[2])
    if family == "augmix":
        return AugMix(
            severity=int(read.get("m", 3)), mixture_width=int(read.get("w", 3)),
            chain_depth=int(read.get("d", -1)), alpha=read.get("a", 1.0), **others,
        )  # fmt: skip
    return _rand(config, read, others)


def _rand(config: str, read: dict[str, float], others: dict[str, Any]) -> RandAugment:
    """What ``rand`` describes."""
    if not read.get("inc"):
        raise ValueError(f"{config!r}: add -inc1, without which more magnitude is not stronger")
    level, spread = read.get("m", LEVELS), read.get("mstd", 0.0)
    if not 0 <= level <= LEVELS:
        raise ValueError(f"{config!r}: m must be from 0 to {LEVELS}")
    uniform = math.isinf(spread) or spread > 100
    if uniform and level < LEVELS:
        raise ValueError(f"{config!r}: a uniform magnitude goes up to {LEVELS} here: say m{LEVELS}")
    return RandAugment(
        int(read.get("n", 2)),
        None if uniform else level * PER_LEVEL,
        LEVELS * PER_LEVEL + 1,
        ops=("Identity", *TIMM),
        ranges="timm",
        probability=read.get("p", 0.5),
        noise=0.0 if uniform else spread * PER_LEVEL,
        **others,
    )
