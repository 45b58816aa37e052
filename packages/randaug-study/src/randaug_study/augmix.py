"""AugMix: several short chains of operations on an image, mixed with it by random weights."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from randaug_study.augment import Fill, fill_level, one_of
from randaug_study.images import like, rows, to_batch
from randaug_study.keys import Key, fresh_key, gammas, uniforms
from randaug_study.plan import Plan, sample_plan
from randaug_study.run import run
from randaug_study.space import Space

PARTIAL = (
    "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate",
    "Posterize", "Solarize", "AutoContrast", "Equalize",
)  # fmt: skip
ALL = (*PARTIAL, "Brightness", "Color", "Contrast", "Sharpness")
BINS, DEEPEST = 10, 3
DEPTH, WEIGHTS, CHAIN = 3 << 32, 4 << 32, 1 << 40  # streams beside those of sample_plan


@dataclass(frozen=True, eq=False)
class MixPlan:
    """A plan for each chain, and the weights of the image itself and of the chains.

    Args:
        chains: W plans of B rows; a chain that is shorter than another ends in ``Identity``.
        weights: float32 ``(B, 1 + W)``, of the image first; each row sums to 1.
    """

    chains: tuple[Plan, ...]
    weights: Tensor

    def __post_init__(self) -> None:
        shape = (len(self.chains[0]) if self.chains else 0, 1 + len(self.chains))
        if not self.chains or self.weights.shape != shape:
            raise ValueError(
                f"weights must be (B, 1 + W) for W chains of B rows, got "
                f"{tuple(self.weights.shape)} for {len(self.chains)} chains"
            )

    def __len__(self) -> int:
        return len(self.weights)

    def __getitem__(self, rows: Tensor | slice | Sequence[int]) -> "MixPlan":
        """The plan of some rows, as ``Plan``'s."""
        return MixPlan(tuple(chain[rows] for chain in self.chains), self.weights[rows])

    def to_json(self) -> str:
        """The plan as one line of JSON, for a journal."""
        chains = [json.loads(chain.to_json()) for chain in self.chains]
        return json.dumps({"chains": chains, "weights": self.weights.tolist()})

    @classmethod
    def from_json(cls, text: str) -> "MixPlan":
        """The plan that ``to_json`` wrote.

        Raises:
            ValueError: if the text is no such plan.
        """
        try:
            read = json.loads(text)
            chains = tuple(Plan.from_json(json.dumps(chain)) for chain in read["chains"])
            return cls(chains, torch.tensor(read["weights"]).view(-1, 1 + len(chains)))
        except (KeyError, TypeError, RuntimeError, ValueError) as error:
            raise ValueError(f"not a plan of AugMix: {error}") from error


class AugMix(nn.Module):
    """Each image mixed with W chains of one to three random operations on it.

    Args:
        severity: the bins that are drawn are below this, of 10.
        mixture_width: W, the number of chains.
        chain_depth: operations in a chain; -1 draws 1 to 3 for each.
        alpha: of the Dirichlet and beta distributions of the weights.
        all_ops: draw brightness, colour, contrast and sharpness too. They overlap with common
            tests of robustness to corruption.
        interpolation: see ``RandAugment``.
        fill: see ``RandAugment``.
        dtype: see ``RandAugment``.

    Raises:
        ValueError: if an argument is out of its range.

    Source:
        Hendrycks et al. 2020; names and ranges as ``torchvision.transforms.v2.AugMix``.

    Example:
        >>> x = torch.full((4, 3, 8, 8), 90, dtype=torch.uint8)
        >>> y, plan = AugMix()(x, key=0, return_plan=True)
        >>> y.dtype, len(plan.chains), torch.equal(AugMix().apply(x, plan), y)
        (torch.uint8, 3, True)
    """

    def __init__(
        self,
        severity: int = 3,
        mixture_width: int = 3,
        chain_depth: int = -1,
        alpha: float = 1.0,
        all_ops: bool = True,
        interpolation: str = "bilinear",
        fill: Fill = None,
        *,
        dtype: str = "uint8",
    ) -> None:
        super().__init__()
        if not 1 <= severity <= BINS:
            raise ValueError(f"severity must be from 1 to {BINS}, got {severity}")
        if mixture_width < 1 or chain_depth == 0 or not alpha > 0:
            got = f"{mixture_width}, {chain_depth} and {alpha}"
            raise ValueError(
                "mixture_width and alpha must be positive, chain_depth not 0, got " + got
            )
        self.severity, self.mixture_width, self.alpha = severity, mixture_width, alpha
        self.chain_depth = chain_depth
        self.space = Space(("Identity", *(ALL if all_ops else PARTIAL)), BINS, "augmix")
        self.interpolation = one_of("interpolation", interpolation, ("nearest", "bilinear"))
        self.dtype = one_of("dtype", dtype, ("uint8", "float"))
        self.fill = fill

    def sample(self, batch_size: int, key: Key, *, ids: Tensor | None = None) -> MixPlan:
        """The chains and weights of a batch; see ``RandAugment.sample``."""
        ids = torch.arange(batch_size) if ids is None else ids.to("cpu", torch.int64)
        parts = key if isinstance(key, tuple) else (key,)
        count = torch.arange(1 + self.mixture_width)
        depths = uniforms(key, ids[:, None], count[1:] + DEPTH) * DEEPEST  # (B, W)
        deepest = DEEPEST if self.chain_depth < 0 else self.chain_depth
        drawn = Space(self.space.ops[1:], max(self.severity, 2), "augmix")  # 0 to severity - 1
        magnitude = None if self.severity > 1 else 0
        chains = []
        for chain in range(self.mixture_width):
            plan = sample_plan(
                drawn, batch_size, deepest, (*parts, CHAIN + chain), magnitude=magnitude, ids=ids
            )
            op = plan.op + 1
            if self.chain_depth < 0:
                op[torch.arange(deepest) > depths[:, chain, None]] = 0
            sign = plan.sign.masked_fill(op == 0, 1)
            chains.append(Plan(op, sign, plan.bin, self.space))
        each = gammas(key, ids[:, None], 64 * count[1:] + WEIGHTS, self.alpha)
        two = gammas(key, ids[:, None], 64 * torch.arange(2) + 2 * WEIGHTS, self.alpha)
        own, chained = (two / two.sum(1, keepdim=True)).unbind(1)
        shares = each / each.sum(1, keepdim=True) * chained[:, None]
        return MixPlan(tuple(chains), torch.cat([own[:, None], shares], 1).float())

    def apply(self, x: Any, plan: MixPlan | None = None) -> Any:  # pyrefly: ignore[bad-override]
        """The images after the plan; see ``RandAugment.apply``."""
        if plan is None:
            return super().apply(x)
        batch = to_batch(x, self.dtype)
        if len(plan) != len(batch):
            raise ValueError(f"the plan has {len(plan)} rows, and x has {len(batch)} images")
        level = fill_level(self.fill, batch)
        weights = plan.weights.to(batch.device).view(len(batch), -1, 1, 1, 1)
        mixed = weights[:, 0] * batch
        for number, chain in enumerate(plan.chains, 1):
            mixed += weights[:, number] * run(batch, chain, self.interpolation, level)
        return like(mixed.clamp_(0, 255).to(torch.uint8), x)

    def forward(
        self,
        x: Any,
        *,
        key: Key | None = None,
        ids: Tensor | None = None,
        return_plan: bool = False,
    ) -> Any:
        """The images after a plan drawn for them; see ``RandAugment.forward``."""
        plan = self.sample(rows(x), fresh_key() if key is None else key, ids=ids)
        out = self.apply(x, plan)
        return (out, plan) if return_plan else out
