"""The average of a model's weights on the clock of samples: update, read, swap, save."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.hooks import RemovableHandle

from ema_scaling import _check, _store
from ema_scaling._average import Average, Lag
from ema_scaling._clock import Clock
from ema_scaling._kernels import Precision, RandomBits, Rng
from ema_scaling._track import Policy, Slot, check_same, local, sources, track, unwrap
from ema_scaling.schedule import PowerFunction, Schedule, as_schedule

OnNonfinite = Literal["propagate", "skip", "raise"]
_CHECK_EVERY = 64  # updates between two walks over the model for changed tensors


class ModelEMA:
    """A moving average of a model's weights that means the same at every batch size.

    Call ``update()`` once after each optimizer step. The object is itself the teacher: calling
    it runs the model's forward with the averaged weights, without gradient.

    Args:
        model: the model to follow; compiled, data-parallel or sharded by FSDP2 if you like.
        decay: weight of the old average in one update of ``batch`` samples, or a Schedule.
        batch: samples of one optimizer step; the clock advances by it at each ``update()``.
            A bare decay may do without: it then counts updates.
        precision: "fp32" keeps the average in float32 (float64 and complex stay what they are);
            "compensated" adds a float32 remainder, for decays very near 1; "stochastic" keeps
            bfloat16 with stochastic rounding.
        buffers: policy for persistent buffers, or patterns to policies (first match holds, else
            "copy"): "copy" takes the model's value at each update, "average" averages it,
            "skip" leaves it out, and the model's own is used. Integers are never averaged.
        update_every: optimizer steps between two updates; the k-th, 2k-th, ... call updates,
            with the decay of all the samples in between.
        corrected: read with ``rules.readout_gain``: what updating at every small step would have
            given, on straight paths between the updates.
        rng: random bits of "stochastic": "shared" reuses them, "independent" does not.
        on_nonfinite: "propagate" looks at nothing; "skip" leaves out updates from a model with
            NaN or infinity; "raise" stops there. The latter two read the model once more.
        generator: source of the random bits; one of its own, seeded with 0, by default.

    Raises:
        ValueError: if a number or choice is out of range, or the model cannot be averaged.
        TypeError: if a parameter is quantised.

    Source:
        The EMA Scaling Rule of Busbridge et al. 2023.

    Example:
        >>> model = nn.Linear(2, 1, bias=False)
        >>> _ = nn.init.zeros_(model.weight)
        >>> ema = ModelEMA(model, 0.9)
        >>> _ = nn.init.ones_(model.weight)
        >>> round(ema.update(), 3), ema(torch.ones(1, 2))
        (0.9, tensor([[0.2000]]))
    """

    def __init__(
        self,
        model: nn.Module,
        decay: Schedule | float,
        *,
        batch: int | None = None,
        precision: Precision = "fp32",
        buffers: Policy | Mapping[str, Policy] = "copy",
        update_every: int = 1,
        corrected: bool = False,
        rng: Rng = "shared",
        on_nonfinite: OnNonfinite = "propagate",
        generator: torch.Generator | None = None,
    ) -> None:
        if batch is None and isinstance(decay, Schedule) and not isinstance(decay, PowerFunction):
            raise ValueError("say batch=, the samples of one optimizer step: schedules count them")
        self.batch = _check.count("batch", 1 if batch is None else batch)
        self.schedule = as_schedule(decay, batch=self.batch)
        self.update_every = _check.count("update_every", update_every)
        _check.one_of("precision", precision, ("fp32", "compensated", "stochastic"))
        _check.one_of("rng", rng, ("shared", "independent"))
        _check.one_of("on_nonfinite", on_nonfinite, ("propagate", "skip", "raise"))
        self.precision: Precision = precision
        self.buffers = buffers if isinstance(buffers, str) else dict(buffers)
        self.corrected = bool(corrected)
        self.on_nonfinite: OnNonfinite = on_nonfinite
        self.generator = generator or torch.Generator().manual_seed(0)
        self.model = model
        self.clock = Clock()
        self._inner = unwrap(model)
        self._tracked = track(self._inner, self.buffers)
        self._sources = sources(self._tracked, None)
        self._shapes = {slot.name: slot.tensor().shape for slot in self._tracked.slots}
        self._kind = self._sources[0].dtype, self._sources[0].device
        bits = RandomBits(self.generator, rng) if precision == "stochastic" else None
        self.average = Average(self._tracked.slots, self._sources, precision, bits)
        self._values: dict[str, Tensor] | None = None
        self._raw: dict[str, Tensor] | None = None
        self._depth = 0

    @property
    def samples(self) -> int:
        """Samples seen so far, by all calls of ``update``."""
        return self.clock.seen + self.clock.pending

    @property
    def swapped(self) -> bool:
        """Whether the model holds averaged weights at the moment."""
        return self._depth > 0

    @torch.no_grad()
    def update(self, *, samples: int | None = None) -> float:
        """Count one optimizer step, and move the average if it is due.

        Args:
            samples: samples of the step; ``batch`` by default.

        Returns:
            The decay that was used; 1.0 where the average did not move.

        Raises:
            RuntimeError: inside ``swap``.
            ValueError: if the model changed its tensors, or holds a non-finite value under
                ``on_nonfinite="raise"``.

        Source:
            ``ema = decay * ema + (1 - decay) * model``, after the step, as ``lerp``.
        """
        if self._depth:
            raise RuntimeError("update() inside swap() would average the average: leave it first")
        clock = self.clock
        due = (clock.calls + 1) % self.update_every == 0
        new = self.batch if samples is None else _check.count("samples", samples)
        live = self._live() if due else []
        if due and self.on_nonfinite != "propagate" and not self._finite(live):
            return 1.0
        clock.calls += 1
        clock.pending += new
        if self.corrected:
            self._values = None
        if not due:
            return 1.0
        weight, decay = clock.advance(self.schedule, corrected=self.corrected)
        self.average.move(live, weight)
        self._values = None
        return decay

    def _live(self) -> Sequence[Tensor]:
        """The model's tensors now, each process's own part."""
        if self.clock.updates % _CHECK_EVERY == 0:
            self.check()
        self._sources = found = sources(self._tracked, self._sources)
        if (kind := (found[0].dtype, found[0].device)) != self._kind:
            raise ValueError(
                f"the model moved from {self._kind} to {kind}: build ModelEMA after .to(...)"
            )
        return list(map(local, found)) if self.average.sharded else found

    def _finite(self, live: Sequence[Tensor]) -> bool:
        finite = self.average.finite(live)
        if self.average.sharded:
            finite = ~_store.any_rank(~finite, self._sources)
        if not finite and self.on_nonfinite == "raise":
            bad = [name for name, _, t in self.average.means(live) if not t.isfinite().all()]
            where = ", ".join(bad[:5]) or "a tensor of another process"
            raise ValueError(f"{where} is not finite: the average was not updated")
        return bool(finite)

    @torch.no_grad()
    def readout(self) -> dict[str, Tensor]:
        """The average by canonical name in its own dtypes, with the gain of ``corrected``.

        Where there is no gain these are the stored tensors themselves: do not write to them.
        """
        gain = self.clock.readout_gain(self.schedule) if self.corrected else 1.0
        values = dict(self.average.shadow)
        if gain != 1:
            now = sources(self._tracked, self._sources)
            for name, shadow, source in self.average.means(now):
                values[name] = torch.lerp(source.to(shadow.dtype), shadow, gain)
        return values

    @torch.no_grad()
    def weights(self) -> dict[str, Tensor]:
        """The averaged weights and buffers by canonical name, in the model's dtypes.

        They share memory with the average where the dtype is the same: do not write to them.
        """
        if self._values is None:
            values, model = self.readout(), self.followed()
            self._values = {name: value.to(model[name].dtype) for name, value in values.items()}
        return self._values

    def followed(self) -> dict[str, Tensor]:
        """The model's own tensors that the average follows, by canonical name."""
        found = sources(self._tracked, self._sources)
        return {s.name: t for s, t in zip(self._tracked.slots, found, strict=True)}

    @torch.no_grad()
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The model's forward pass with the averaged weights, without gradient.

        The mode is the model's own: in training mode batch statistics are used, and neither the
        average's nor the model's buffers move.

        Raises:
            RuntimeError: if the model is sharded: use ``swap`` or ``copy_to`` there.
        """
        if self.average.sharded:
            raise RuntimeError("a sharded model has no functional call: use swap() or copy_to()")
        values = self.weights()
        named = {slot.raw_name: values[slot.name] for slot in self._tracked.slots}
        named |= {
            raw: values[name] for raw, name in self._tracked.aliases.items() if name in values
        }
        if self._inner.training:
            live = dict(self._inner.named_buffers(remove_duplicate=False))
            named |= {raw: named.get(raw, buffer).clone() for raw, buffer in live.items()}
        return functional_call(self._inner, named, args, kwargs, tie_weights=False)

    def attach(self, optimizer: torch.optim.Optimizer) -> RemovableHandle:
        """Update after every step of the optimizer, until the returned handle is removed.

        Steps that a GradScaler skips do not reach the hook, except with fused optimizers.
        """

        def after_step(*_: Any) -> None:
            self.update()

        return optimizer.register_step_post_hook(after_step)

    @contextmanager
    def swap(self, model: nn.Module | None = None) -> Iterator[nn.Module]:
        """The model with the averaged weights, restored bit by bit at the end or on an error.

        For evaluation and saving: weights are written in place, so a backward pass of a forward
        pass before the swap is impossible. Swaps may be nested.

        Args:
            model: another model with the same names and shapes; the followed one by default.

        Raises:
            ValueError: if the model has other tensors than the average.
        """
        values = self.weights()
        targets = self._targets(model)
        with torch.no_grad():
            backup = [local(target).detach().clone() for _, target in targets]
        own = model is None or unwrap(model) is self._inner
        if own and not self._depth:
            self._raw = {slot.name: old for (slot, _), old in zip(targets, backup, strict=True)}
        self._depth += own
        try:
            self._write(targets, values)
            yield self.model if model is None else model
        finally:
            with torch.no_grad():
                for (_, target), old in zip(targets, backup, strict=True):
                    local(target).copy_(old)
            self._depth -= own
            if not self._depth:
                self._raw = None

    def raw_weights(self) -> dict[str, Tensor]:
        """The followed model's own weights by canonical name, also inside ``swap``."""
        return dict(self._raw) if self._raw is not None else self.followed()

    def copy_to(self, model: nn.Module | None = None) -> None:
        """Write the averaged weights into a model for good; the followed one by default.

        Into the followed model this is feedback (as in Switch EMA), so the rule matters.

        Raises:
            ValueError: if the model has other tensors than the average.
        """
        self._write(self._targets(model), self.weights())
        self._values = None

    def materialize(self) -> nn.Module:
        """A copy of the bare model that holds the averaged weights, in evaluation mode."""
        twin = copy.deepcopy(self._inner)
        self._write(self._targets(twin), self.weights())
        return twin.eval().requires_grad_(False)

    def _targets(self, model: nn.Module | None) -> list[tuple[Slot, Tensor]]:
        if model is None or unwrap(model) is self._inner:
            self.check()
            found = sources(self._tracked, self._sources)
            return list(zip(self._tracked.slots, found, strict=True))
        other = track(unwrap(model), self.buffers)
        check_same(self._shapes, self._tracked, other)
        return [(slot, slot.tensor()) for slot in other.slots]

    @torch.no_grad()
    def _write(self, targets: list[tuple[Slot, Tensor]], values: Mapping[str, Tensor]) -> None:
        for slot, target in targets:
            local(target).copy_(local(values[slot.name]))

    def check(self) -> None:
        """Compare the model's tensors with those that are followed; done by itself now and then.

        Raises:
            ValueError: naming what was added, removed or reshaped.
        """
        if not self.average.sharded:
            now = track(self._inner, self.buffers)
            check_same(self._shapes, self._tracked, now)

    @torch.no_grad()
    def lag(self) -> Lag:
        """How far the average is behind the model.

        Raises:
            RuntimeError: inside ``swap``, or if the model is sharded.
        """
        if self._depth or self.average.sharded:
            raise RuntimeError("lag() needs the model's own, unsharded weights")
        distances = self.average.distances(sources(self._tracked, self._sources))
        return Lag(*distances, self.clock.mean_age(self.schedule), self.samples)

    def recipe(self) -> dict[str, Any]:
        """What defines the average, as plain JSON: stored in checkpoints and compared on resume."""
        return {
            "schedule": self.schedule.spec(),
            "batch": self.batch,
            "update_every": self.update_every,
            "precision": self.precision,
            "corrected": self.corrected,
            "buffers": self.buffers,
        }

    def state_dict(self) -> dict[str, Any]:
        """The average, its clock, its recipe and its generator; the same inside ``swap``."""
        return _store.state_of(self)

    def load_state_dict(
        self, state: Mapping[str, Any], *, kappa: float | None = None, strict: bool = True
    ) -> None:
        """Go on from a state.

        Args:
            state: what ``state_dict`` returned.
            kappa: this batch over the state's, where they differ on purpose.
            strict: refuse a state of another schedule, batch or readout.

        Raises:
            ValueError: if the state belongs to another recipe or model; the message says what to
                do, and nothing has been changed.
        """
        _store.load_state(self, state, kappa=kappa, strict=strict)
        self._values = None

    def save_safetensors(self, path: str | Path) -> None:
        """Write the state to one file, whole or not at all.

        Raises:
            ValueError: if the model is sharded: use ``torch.distributed.checkpoint`` there.
        """
        _store.save(self, path)

    def load_safetensors(
        self, path: str | Path, *, kappa: float | None = None, strict: bool = True
    ) -> None:
        """Go on from a file of ``save_safetensors``; see ``load_state_dict``.

        Raises:
            ValueError: if the file is damaged or belongs to another recipe or model.
        """
        self.load_state_dict(_store.read(path), kappa=kappa, strict=strict)
