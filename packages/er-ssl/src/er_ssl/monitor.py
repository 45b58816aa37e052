"""What a training loop watches: entropy and reconstruction over time, and an alarm at collapse."""

import json
import os
import warnings
from typing import Any

import torch
from torch import Tensor

from er_ssl._checks import check_positive, check_same_shape, unit_rows
from er_ssl.bounds import ERTerms, entropy_term, make_terms, reconstruction_term
from er_ssl.diagnostics import effective_rank, embedding_std
from er_ssl.trace import append_line

_STATE = "er-ssl monitor"


class CollapseWarning(UserWarning):
    """The entropy of a branch has come down to its floor: its rows are becoming one."""


class ERMonitor:
    """Means of the bound's terms over training steps, and an alarm when a branch collapses.

    Each update looks at this process' rows, without gradient, and waits for the device: on an
    accelerator, call it every some steps.

    Args:
        kappa: concentration of kernel and reconstruction, positive.
        leave_one_out: leave a row out of its own density.
        alarm_below: level of the entropy between floor (0) and ceiling (1) that means collapse.
        patience: updates in a row below that level until the alarm.
        max_rows: rows of a batch to look at.

    Raises:
        ValueError: on values out of range.

    Source:
        Entropy of either branch and reconstruction, as the paper traces them in BYOL and DINO; the
        level and the alarm are our choice.

    Example:
        >>> import torch
        >>> monitor = ERMonitor(kappa=5.0)
        >>> monitor.update(torch.eye(4), torch.eye(4))
        >>> report = monitor.compute()
        >>> round(report["bound"], 3), round(report["level_online"], 3), report["collapsed"]
        (1.366, 0.988, False)
    """

    def __init__(
        self,
        *,
        kappa: float = 10.0,
        leave_one_out: bool = False,
        alarm_below: float = 0.1,
        patience: int = 1,
        max_rows: int = 1024,
    ) -> None:
        check_positive("kappa", kappa)
        if not 0 < alarm_below < 1:
            raise ValueError(f"alarm_below must be between 0 and 1, got {alarm_below}")
        if patience < 1 or max_rows < 2:
            raise ValueError(
                "patience must be at least 1 and max_rows at least 2, "
                f"got {patience} and {max_rows}"
            )
        self.kappa, self.leave_one_out = kappa, leave_one_out
        self.alarm_below, self.patience, self.max_rows = alarm_below, patience, max_rows
        self._warned = False
        self._below = 0  # updates in a row under the level
        self.reset()

    @property
    def collapsed(self) -> bool:
        """Whether the last ``patience`` updates were all below the level."""
        return self._below >= self.patience

    def reset(self) -> None:
        """Start new means; what the alarm has seen stays."""
        self._sums: dict[str, float] = {}
        self._updates = 0
        self._skipped = 0

    @torch.no_grad()
    def update(self, z_online: Tensor, z_target: Tensor) -> None:
        """Take in one batch.

        A batch with values that are not finite is counted as skipped and changes nothing else.

        Args:
            z_online: ``(B, D)``, the branch that is trained, any scale.
            z_target: ``(B, D)``, the teacher's or the other view's; row i is another view of row i.

        Raises:
            ValueError: if the shapes differ or there are fewer than 2 rows.
            TypeError: on tensors that are not floating.
        """
        check_same_shape(z_online=z_online, z_target=z_target)
        online, target = (unit_rows(z[: self.max_rows]) for z in (z_online, z_target))
        if not (bool(online.isfinite().all()) and bool(target.isfinite().all())):
            self._skipped += 1
            return
        on_target, on_online = self._terms(online, target), self._terms(target, online)
        values = {
            "entropy_online": float(on_online.entropy),
            "entropy_target": float(on_target.entropy),
            "entropy_floor": on_target.entropy_floor,
            "entropy_ceiling": on_target.entropy_ceiling,
            "level_online": on_online.level,
            "level_target": on_target.level,
            "reconstruction": float(on_target.reconstruction),
            "bound": float(on_target.bound),
            "ceiling": on_target.ceiling,
            "std_online": float(embedding_std(online)),
            "effective_rank_online": float(effective_rank(online)),
        }
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._updates += 1
        level = min(on_online.level, on_target.level)
        self._below = self._below + 1 if level < self.alarm_below else 0
        self._warn_once(level)

    def compute(self) -> dict[str, float]:
        """Return the means since the last `reset`, and whether a branch is collapsed.

        Returns:
            Name to number: ``entropy_online``, ``entropy_target``, ``reconstruction``, ``bound``
            and their limits ``entropy_floor``, ``entropy_ceiling``, ``ceiling`` in nats;
            ``level_online``, ``level_target``; ``std_online`` as `embedding_std`;
            ``effective_rank_online``; ``updates``, ``skipped``, and ``collapsed`` (True or False).

        Raises:
            ValueError: if there was no update.
        """
        if not self._updates:
            raise ValueError(
                f"no update to compute from ({self._skipped} skipped as not finite): "
                "call update(z_online, z_target) first"
            )
        means = {name: total / self._updates for name, total in self._sums.items()}
        counts = {"updates": self._updates, "skipped": self._skipped}
        return {**means, **counts, "collapsed": self.collapsed}

    def record(self, path: str | os.PathLike[str], *, step: int) -> dict[str, float]:
        """Append `compute` as one line of JSON to a trace, start new means, and return the line.

        A last line that breaks off, where a run was killed while it wrote, is removed.

        Args:
            path: file to append to, made where there is none; `er_ssl.read_trace` reads it.
            step: the training step that the line belongs to.

        Returns:
            ``step`` and what `compute` gives.
        """
        line = {"step": step, **self.compute()}
        append_line(path, json.dumps(line))
        self.reset()
        return line

    def state_dict(self) -> dict[str, Any]:
        """Return plain numbers to save with a checkpoint."""
        return {
            "format": _STATE,
            "version": 1,
            "sums": dict(self._sums),
            "updates": self._updates,
            "skipped": self._skipped,
            "below": self._below,
            "warned": self._warned,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        if state.get("format") != _STATE or state.get("version") != 1:
            got = f"{state.get('format')!r} version {state.get('version')!r}"
            raise ValueError(f"state must be {_STATE!r} version 1, got {got}")
        self._sums, self._updates = dict(state["sums"]), state["updates"]
        self._skipped, self._below = state["skipped"], state["below"]
        self._warned = state["warned"]

    def _terms(self, u1: Tensor, u2: Tensor) -> ERTerms:
        kappa, loo = self.kappa, self.leave_one_out
        h, rows = entropy_term(u2, kappa, leave_one_out=loo, gather=False)
        r = reconstruction_term(u1, u2, kappa, rows=rows, gather=False)
        return make_terms(h, r, -(h + r), rows, u1.shape[1], kappa, leave_one_out=loo)

    def _warn_once(self, level: float) -> None:
        if not self.collapsed or self._warned:
            return
        self._warned = True
        warnings.warn(
            f"the entropy is at {max(level, 0.0):.1%} of the way from its floor to its ceiling "
            f"(alarm below {self.alarm_below:.0%}): the embeddings are becoming one point",
            CollapseWarning,
            stacklevel=3,
        )
