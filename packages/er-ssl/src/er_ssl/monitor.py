"""What a training loop watches: entropy and reconstruction over time, and an alarm at collapse."""

import torch
from torch import Tensor, nn

from er_ssl._checks import check_positive, check_same_shape, unit_rows
from er_ssl.bounds import er_bound


class ERMonitor:
    """Averages the terms of the bound over training steps, and tells when rows collapse."""

    def __init__(
        self, *, kappa: float = 10.0, leave_one_out: bool = False, alarm_below: float = 0.1
    ) -> None:
        check_positive("kappa", kappa)
        self.kappa, self.leave_one_out, self.alarm_below = kappa, leave_one_out, alarm_below
        self.reset()

    def reset(self) -> None:
        """Forget all updates."""
        self._sums: dict[str, float] = {}
        self._updates = 0

    @torch.no_grad()
    def update(self, z_online: Tensor, z_target: Tensor) -> None:
        """Take in one batch of both branches."""
        check_same_shape(z_online=z_online, z_target=z_target)
        to_target = er_bound(
            z_online, z_target, kappa=self.kappa, leave_one_out=self.leave_one_out
        )
        to_online = er_bound(
            z_target, z_online, kappa=self.kappa, leave_one_out=self.leave_one_out
        )
        u = unit_rows(z_online)
        row = {
            "entropy_online": float(to_online.entropy),
            "entropy_target": float(to_target.entropy),
            "reconstruction": float(to_target.reconstruction),
            "bound": float(to_target.bound),
            "ceiling": to_target.ceiling,
            "entropy_floor": to_target.entropy_floor,
            "entropy_ceiling": to_target.entropy_ceiling,
            "level_online": to_online.level,
            "level_target": to_target.level,
            "std": float(u.std(0).mean() * u.shape[1] ** 0.5),
        }
        for name, value in row.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._updates += 1

    def compute(self) -> dict[str, float | int | bool]:
        """Means over the updates since the last reset, and whether rows have collapsed."""
        if not self._updates:
            raise ValueError("nothing to compute: call update(z_online, z_target) first")
        means = {name: total / self._updates for name, total in self._sums.items()}
        collapsed = means["level_online"] < self.alarm_below
        return {**means, "updates": self._updates, "collapsed": collapsed}

    def state_dict(self) -> dict:
        """Plain numbers, for a checkpoint."""
        return {"sums": dict(self._sums), "updates": self._updates}

    def load_state_dict(self, state: dict) -> None:
        """Go on from `state_dict`."""
        self._sums, self._updates = dict(state["sums"]), state["updates"]


class EntropyQueue(nn.Module):
    """The latest rows of past batches, for the density of small batches."""

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        if size < 1 or dim < 2:
            raise ValueError(f"size must be at least 1 and dim at least 2, got {size} and {dim}")
        self.register_buffer("rows", torch.zeros(size, dim))
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def enqueue(self, z: Tensor) -> None:
        """Put rows in, over the oldest."""
        size = len(self.rows)
        kept = unit_rows(z[-size:]).to(self.rows)
        place = (int(self.seen) + len(z) - len(kept) + torch.arange(len(kept))) % size
        self.rows[place] = kept
        self.seen += len(z)

    @property
    def reference(self) -> Tensor:
        """The rows held, ``(at most size, dim)``."""
        return self.rows[: min(int(self.seen), len(self.rows))]
