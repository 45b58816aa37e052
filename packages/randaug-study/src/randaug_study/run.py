"""A plan carried out on a batch: rows sorted by operation, so that each kernel sees a slice."""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from randaug_study import filters, opencv, tables, warp
from randaug_study.plan import Plan
from randaug_study.space import Space

# The order in which a step's rows stand; rows of FIXED to EQUALIZE share one lookup.
IDLE, WARP, FIXED, CONTRAST, AUTOCONTRAST, EQUALIZE, COLOR, SHARPNESS, END = range(9)
FAMILY = (
    {"Identity": IDLE, "Contrast": CONTRAST, "AutoContrast": AUTOCONTRAST, "Equalize": EQUALIZE}
    | {"Color": COLOR, "Sharpness": SHARPNESS}
    | dict.fromkeys(warp.WARPS, WARP)
    | dict.fromkeys(tables.FIXED, FIXED)
)
FILTERS = ((COLOR, filters.color_), (SHARPNESS, filters.sharpness_))
CHUNK_NUMBERS = 2**20  # grey levels worked on at a time: more fall out of the caches


class Bank:
    """What a space's codes stand for on a device; a code counts operations, signs and bins."""

    def __init__(self, space: Space, device: torch.device) -> None:
        self.space, self.device = space, device
        with torch.inference_mode(False):  # what is kept must serve in any mode
            self._fill()

    def _fill(self) -> None:
        space, device = self.space, self.device
        self.family = np.array([FAMILY[name] for name in space.ops])
        codes = (len(space.ops), 2, space.bins)
        factor = torch.ones(codes, dtype=torch.float64)
        fixed = torch.zeros(*codes, 256, dtype=torch.uint8)
        for number, name in enumerate(space.ops):
            if name in tables.FIXED:
                fixed[number] = tables.fixed(space, name)
            elif name in ("Contrast", "Color", "Sharpness"):
                offset = torch.tensor(space.values(name, 1, 1), dtype=torch.float64)
                factor[number] = torch.stack([1.0 + offset, 1.0 - offset])
        self.fixed = fixed.flatten(0, 2).to(device)
        self.factor = factor.flatten().float().to(device)
        self.rest = (1.0 - factor).flatten().float().to(device)

    def codes(self, plan: Plan) -> np.ndarray:
        """One number for each operation with its sign and bin, int64 ``(B, N)``."""
        op, sign, bin = (t.numpy().astype(np.int64) for t in (plan.op, plan.sign, plan.bin))
        return (op * 2 + (sign < 0)) * self.space.bins + bin

    def families(self, plan: Plan, channels: int) -> np.ndarray:
        """Which kernel does each operation, ``(B, N)``; colour is idle in grey."""
        family = self.family
        if channels == 1:
            family = np.where(family == COLOR, IDLE, family)
        return family[plan.op.numpy()]

    def tables(self, x: Tensor, codes: Tensor, edges: list[int]) -> Tensor:
        """The table of each row, ``(n, C, 256)``; edges as of ``_step``."""
        made = x.new_empty(*x.shape[:2], 256)
        rows = [slice(edges[family], edges[family + 1]) for family in range(END)]
        if edges[FIXED + 1] > edges[FIXED]:
            made[rows[FIXED]] = self.fixed.index_select(0, codes[rows[FIXED]])[:, None]
        if edges[CONTRAST + 1] > edges[CONTRAST]:
            code = codes[rows[CONTRAST]]
            made[rows[CONTRAST]] = tables.contrast(
                x[rows[CONTRAST]], self.factor[code], self.rest[code]
            )
        if edges[AUTOCONTRAST + 1] > edges[AUTOCONTRAST]:
            made[rows[AUTOCONTRAST]] = tables.autocontrast(x[rows[AUTOCONTRAST]])
        if edges[EQUALIZE + 1] > edges[EQUALIZE]:
            made[rows[EQUALIZE]] = tables.equalize(x[rows[EQUALIZE]])
        return made


bank = lru_cache(maxsize=32)(Bank)


def run(
    x: Tensor,
    plan: Plan,
    mode: str,
    fill: Tensor | None,
    *,
    backend: str = "torch",
    chunk_numbers: int = CHUNK_NUMBERS,
) -> Tensor:
    """The images after every step of the plan, a new tensor.

    Args:
        x: uint8 ``(B, C, H, W)``, contiguous, C of 1 or 3.
        plan: of B rows.
        mode: of warps, ``"nearest"`` or ``"bilinear"``.
        fill: float32 ``(C,)``, or None for black.
        backend: ``"torch"``, or ``"opencv"`` on the CPU, with the same result.
        chunk_numbers: grey levels worked on at a time; changes the speed, never the result.
    """
    if not plan.steps or not x.numel():
        return x.clone()
    known = bank(plan.space, x.device)
    codes, families = known.codes(plan), known.families(plan, x.shape[1])
    keys = families * (len(plan.space.ops) * 2 * plan.space.bins) + codes
    apart = backend == "opencv" and x.device.type == "cpu" and mode == "nearest"
    if apart and max(x.shape[2:]) <= opencv.LARGEST:
        x = x.clone()
        for step in range(plan.steps):
            order = keys[:, step].argsort(kind="stable")
            edges = np.searchsorted(families[order, step], np.arange(END + 1)).tolist()
            _step_apart(x, known, order, codes[order, step], edges, fill)
        return x
    chunk = max(1, chunk_numbers // x[0].numel())
    place = np.arange(len(x))  # where the rows of x stand now
    for step in range(plan.steps):
        order = keys[:, step].argsort(kind="stable")
        x = x.index_select(0, torch.from_numpy(place[order]).to(x.device))
        edges = np.searchsorted(families[order, step], np.arange(END + 1)).tolist()
        _step(x, known, codes[order, step], edges, mode, fill, chunk)
        place[order] = np.arange(len(order))
    return x.index_select(0, torch.from_numpy(place).to(x.device))


def _step(
    x: Tensor,
    known: Bank,
    codes: np.ndarray,
    edges: list[int],
    mode: str,
    fill: Tensor | None,
    chunk: int,
) -> None:
    """One operation on each row of x, in place. Rows of family f are edges[f] to edges[f + 1]."""
    on_device = torch.from_numpy(codes).to(x.device)
    for start, stop in _chunks(edges[WARP], edges[WARP + 1], chunk):
        warp.warp_(x[start:stop], known.space, codes[start:stop], mode, fill)
    for start, stop in _chunks(edges[FIXED], edges[EQUALIZE + 1], chunk):
        part = [min(max(edge, start), stop) - start for edge in edges]
        made = known.tables(x[start:stop], on_device[start:stop], part)
        tables.lookup_(x[start:stop], made)
    for family, kernel_ in FILTERS:
        for start, stop in _chunks(edges[family], edges[family + 1], chunk):
            code = on_device[start:stop]
            kernel_(x[start:stop], known.factor[code], known.rest[code])


def _step_apart(
    x: Tensor,
    known: Bank,
    order: np.ndarray,
    codes: np.ndarray,
    edges: list[int],
    fill: Tensor | None,
) -> None:
    """As ``_step`` by OpenCV, where row i of those that stand sorted is row order[i] of x."""
    rows = slice(edges[WARP], edges[WARP + 1])
    opencv.warp_(x, order[rows], known.space, codes[rows], fill)
    rows = slice(edges[FIXED], edges[EQUALIZE + 1])
    if rows.stop > rows.start:
        part = x.index_select(0, torch.from_numpy(order[rows]))
        inner = [min(max(edge, rows.start), rows.stop) - rows.start for edge in edges]
        made = known.tables(part, torch.from_numpy(codes[rows]), inner)
        opencv.lookup_(part, made, x, order[rows])
    for family, kernel_ in FILTERS:
        for at in range(edges[family], edges[family + 1]):
            row, code = int(order[at]), int(codes[at])
            kernel_(x[row : row + 1], known.factor[code, None], known.rest[code, None])


def _chunks(start: int, stop: int, chunk: int) -> list[tuple[int, int]]:
    """The rows from start to stop in pieces."""
    return [(at, min(at + chunk, stop)) for at in range(start, stop, chunk)]
