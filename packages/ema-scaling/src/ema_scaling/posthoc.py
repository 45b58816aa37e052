"""Averages of any width after training: snapshots of power-function EMAs, and their synthesis.

A snapshot at time t of exponent gamma has a known profile over the past; a wanted profile is
fitted by a sum of those, and the same sum of the stored weights is the wanted average.
"""

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ema_scaling import _check
from ema_scaling._store import FORMAT, VERSION, write_tensors
from ema_scaling.ema import ModelEMA
from ema_scaling.files import read_header
from ema_scaling.profiles import inner_product, sigma_rel_to_gamma
from ema_scaling.schedule import PowerFunction

_KIND = "power-function-snapshot"
_ROUNDING = {"F64": 2.0**-53, "F32": 2.0**-24, "F16": 2.0**-11, "BF16": 2.0**-8}


class LowPrecisionWarning(UserWarning):
    """Snapshots are stored in fewer bits than their synthesis may need."""


@dataclass(frozen=True)
class ProfileFit:
    """Weights of the stored profiles, which sum to 1, and how far to trust them.

    ``error`` is the distance of the fitted profile from the wanted one, relative to the latter;
    ``condition`` that of the system; ``magnification`` the sum of the weights' magnitudes, by
    which the rounding of the snapshots grows.
    """

    weights: tuple[float, ...]
    error: float
    condition: float
    magnification: float


@dataclass(frozen=True)
class Synthesis:
    """A synthesised average: what was wanted, what it was made from, how far to trust it."""

    gamma: float
    sigma_rel: float
    time: float
    files: tuple[str, ...]
    fit: ProfileFit
    rounding: float

    def __str__(self) -> str:
        return (
            f"sigma_rel {self.sigma_rel:.4g} at {self.time:g} samples from {len(self.files)} "
            f"snapshots: profile error {self.fit.error:.2g}, condition {self.fit.condition:.2g}, "
            f"sum of |weights| {self.fit.magnification:.3g}, rounding {self.rounding:.2g}"
        )

    def to_table(self) -> dict[str, list[Any]]:
        """One row a snapshot: its file and its weight."""
        return {"file": list(self.files), "weight": list(self.fit.weights)}


def solve_weights(
    times: Sequence[float], gammas: Sequence[float], *, time: float, gamma: float
) -> ProfileFit:
    """The weights with which stored profiles add up to a wanted one, by least squares.

    Args:
        times: samples at which each snapshot was taken, positive.
        gammas: exponent of each snapshot.
        time: end of the wanted profile, in samples.
        gamma: exponent of the wanted profile.

    Returns:
        Weights that sum to 1, with error, condition and magnification. A stored profile that is
        wanted itself gets all the weight.

    Raises:
        ValueError: if there are no snapshots or a number is out of range.

    Source:
        Karras et al. 2024, post-hoc EMA. That the weights sum to exactly 1 is our choice.

    Example:
        >>> fit = solve_weights([1000, 2000, 2000], [7, 7, 17], time=2000, gamma=7)
        >>> fit.weights
        (0.0, 1.0, 0.0)
    """
    if not times or len(times) != len(gammas):
        raise ValueError(f"times and gammas must pair up, got {len(times)} and {len(gammas)}")
    _check.positive("time", time)
    stored = list(zip(gammas, times, strict=True))
    gram = _matrix([[inner_product(*a, *b) for b in stored] for a in stored])  # (n, n)
    toward = _matrix([inner_product(*a, gamma, time) for a in stored])  # (n,)
    size = inner_product(gamma, time, gamma, time)
    norm = gram.diagonal().sqrt()
    cosines = gram / norm / norm[:, None]
    condition = float(torch.linalg.cond(cosines))
    for i, (g, t) in enumerate(stored):
        if abs(g - gamma) <= 1e-9 * (1 + gamma) and abs(t - time) <= 1e-12 * time:
            exact = tuple(float(j == i) for j in range(len(stored)))
            return ProfileFit(exact, 0.0, condition, 1.0)
    # minimise |sum v_i p_i / |p_i| - wanted| with sum v_i / |p_i| = 1, by one multiplier
    mass = norm.max() / norm
    system = torch.zeros(len(stored) + 1, len(stored) + 1, dtype=torch.float64)
    system[:-1, :-1] = cosines
    system[:-1, -1] = system[-1, :-1] = mass
    wanted = torch.cat([toward / norm, norm.max()[None]])
    solved = torch.linalg.lstsq(system, wanted[:, None], driver="gelsd").solution[:-1, 0]
    weights = solved / norm
    square = weights @ gram @ weights - 2 * weights @ toward + size
    error = (max(float(square), 0.0) / size) ** 0.5
    return ProfileFit(tuple(weights.tolist()), error, condition, float(weights.abs().sum()))


def _matrix(rows: Any) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


class PostHocEMA:
    """Power-function EMAs of several widths, with snapshots for a synthesis after training.

    Args:
        model: the model to follow.
        sigma_rels: relative widths that are tracked.
        batch: samples of one optimizer step.
        corrected: as in ``ModelEMA``; on by default, so that sparse updates keep the profile.
        **options: further arguments of ``ModelEMA``, such as ``update_every``.

    Raises:
        ValueError: if a width is out of range or none is given.

    Source:
        Karras et al. 2024; the profile is kept at every batch and every ``update_every``.

    Example:
        >>> post = PostHocEMA(nn.Linear(2, 1), sigma_rels=(0.05, 0.1), batch=32)
        >>> post.update()
        >>> post.samples
        32
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        sigma_rels: Sequence[float] = (0.05, 0.1),
        batch: int = 1,
        corrected: bool = True,
        **options: Any,
    ) -> None:
        if not sigma_rels:
            raise ValueError("sigma_rels must name at least one width, got none")
        self.emas = [
            ModelEMA(
                model, PowerFunction(sigma_rel=width), batch=batch, corrected=corrected, **options
            )
            for width in sigma_rels
        ]

    @property
    def samples(self) -> int:
        """Samples seen so far."""
        return self.emas[0].samples

    def update(self, *, samples: int | None = None) -> None:
        """Count one optimizer step in every average."""
        for ema in self.emas:
            ema.update(samples=samples)

    def state_dict(self) -> dict[str, Any]:
        """The states of the averages, by their number."""
        return {str(i): ema.state_dict() for i, ema in enumerate(self.emas)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of as many averages.

        Raises:
            ValueError: if it belongs to another model, recipe or number of averages.
        """
        if len(state) != len(self.emas):
            raise ValueError(f"the state has {len(state)} averages, this has {len(self.emas)}")
        for i, ema in enumerate(self.emas):
            ema.load_state_dict(state[str(i)])

    def snapshot(
        self, folder: str | Path, *, dtype: torch.dtype = torch.float32, overwrite: bool = False
    ) -> list[Path]:
        """Write each average to a file of its own.

        Args:
            folder: where; made if it is missing.
            dtype: of the stored weights. Below float32 a synthesis may be refused.
            overwrite: whether a file of the same time may be replaced.

        Returns:
            The files.

        Raises:
            ValueError: before the first update, or if a file is there already.
        """
        folder = Path(folder)
        if torch.finfo(dtype).bits < 32:
            text = f"snapshots in {dtype}: a synthesis magnifies their rounding"
            warnings.warn(text, LowPrecisionWarning, stacklevel=2)
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for ema in self.emas:
            time = ema.clock.seen
            if not time:
                raise ValueError("nothing has been averaged yet: update() comes before snapshot()")
            gamma = PowerFunction(gamma=ema.schedule.spec()["gamma"]).gamma  # type: ignore[arg-type]
            path = folder / f"{time:015d}-{gamma:.4f}.safetensors"
            if path.exists() and not overwrite:
                raise ValueError(f"{path} is there already: pass overwrite=True to replace it")
            tensors = {
                name: tensor.to(dtype) if tensor.is_floating_point() else tensor
                for name, tensor in ema.readout().items()
            }
            means = sorted(ema.average.names_of_means())
            metadata = {"format": FORMAT, "version": str(VERSION), "kind": _KIND}
            metadata["averaged"] = json.dumps(means)
            write_tensors(
                path, tensors, {**metadata, "profile": json.dumps({"time": time, "gamma": gamma})}
            )
            paths.append(path)
        return paths


def synthesize(
    folder: str | Path,
    output: str | Path,
    *,
    sigma_rel: float,
    time: float | None = None,
    tolerance: float = 1e-3,
) -> Synthesis:
    """Write the average of a width that was never tracked; holds one model and one tensor at once.

    Args:
        folder: snapshots of ``PostHocEMA``.
        output: safetensors file to write; weights by canonical name.
        sigma_rel: the wanted relative width.
        time: the wanted end, in samples; the last snapshot's by default.
        tolerance: largest magnified rounding, relative, that is accepted.

    Returns:
        What was done and how far to trust it.

    Raises:
        ValueError: if there are no snapshots up to ``time``, they differ in names or shapes, one
            is damaged, or rounding would be magnified beyond ``tolerance``.

    Source:
        ``solve_weights``.
    """
    gamma = sigma_rel_to_gamma(sigma_rel)
    found = [_described(path) for path in sorted(Path(folder).glob("*.safetensors"))]
    if not found:
        raise ValueError(f"{folder} holds no snapshots (*.safetensors)")
    last = max(profile[0] for _, profile, _ in found)
    end = last if time is None else _check.positive("time", time)
    used = [entry for entry in found if entry[1][0] <= end]
    if not used:
        raise ValueError(f"no snapshot in {folder} was taken up to {end:g} samples")
    _check_alike([(path, layout) for path, _, layout in used])
    fit = solve_weights(
        [profile[0] for _, profile, _ in used],
        [profile[1] for _, profile, _ in used],
        time=end,
        gamma=gamma,
    )
    kinds = {kind for _, _, layout in used for kind, _, averaged in layout.values() if averaged}
    rounding = max(_ROUNDING.get(kind, 0.0) for kind in kinds) * fit.magnification
    if rounding > tolerance:
        raise ValueError(
            f"the snapshots' rounding, magnified {fit.magnification:.3g} times, would reach "
            f"{rounding:.2g} (tolerance {tolerance:g}): store them in float32, or take more"
        )
    files = tuple(path.name for path, _, _ in used)
    report = Synthesis(gamma, sigma_rel, float(end), files, fit, rounding)
    means = {name: averaged for name, (_, _, averaged) in used[0][2].items()}
    summed = _summed([path for path, _, _ in used], fit.weights, means)
    metadata = {"format": FORMAT, "version": str(VERSION), "kind": "power-function-synthesis"}
    write_tensors(
        output, summed, {**metadata, "profile": json.dumps({"time": end, "gamma": gamma})}
    )
    return report


Layout = dict[str, tuple[str, list[int], bool]]


def _described(path: Path) -> tuple[Path, tuple[float, float], Layout]:
    """A snapshot's path, its (time, gamma), and each tensor's dtype, shape, is averaged."""
    metadata, header = read_header(path)
    if metadata.get("format") != FORMAT or metadata.get("kind") != _KIND:
        raise ValueError(f"{path} is no snapshot of {FORMAT}")
    try:
        profile = json.loads(metadata["profile"])
        time, gamma = profile["time"] + 0, profile["gamma"] + 0.0
        averaged = set(json.loads(metadata["averaged"]))
        layout = {
            name: (entry["dtype"], entry["shape"], name in averaged)
            for name, entry in header.items()
        }
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} has a malformed header: {error!r}") from error
    return path, (time, gamma), layout


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A safetensors file; what does not fit in it is a ValueError."""
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def _check_alike(layouts: list[tuple[Path, Layout]]) -> None:
    first, want = layouts[0]
    for path, layout in layouts[1:]:
        names = sorted(n for n in {*want, *layout} if want.get(n, "")[1:] != layout.get(n, "")[1:])
        if names:
            raise ValueError(f"{path} and {first} differ in {', '.join(names[:5])}")


def _summed(
    paths: list[Path], weights: Sequence[float], means: dict[str, bool]
) -> dict[str, Tensor]:
    """The weighted sum, file by file and tensor by tensor; what was only copied, from the last."""
    total: dict[str, Tensor] = {}
    for path, weight in zip(paths, weights, strict=True):
        with _opened(path) as file:
            for name, averaged in means.items():
                tensor = file.get_tensor(name)
                if not averaged:
                    total[name] = tensor
                elif name in total:
                    total[name].add_(tensor, alpha=weight)
                else:
                    wide = torch.float64 if tensor.dtype == torch.float64 else torch.float32
                    total[name] = tensor.to(wide).mul_(weight)
    return total
