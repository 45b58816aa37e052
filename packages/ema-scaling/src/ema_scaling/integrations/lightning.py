"""A Lightning callback: updates after optimizer steps, evaluates averaged, saves both weights."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
from torch import nn

from ema_scaling import _check
from ema_scaling._track import canonical_name
from ema_scaling.ema import ModelEMA
from ema_scaling.schedule import Schedule

if TYPE_CHECKING:
    from typing_extensions import override
else:

    def override(method):
        """Marks a hook of the base class, for type checkers; in ``typing`` from 3.12 on."""
        return method


class EMACallback(pl.Callback):
    """Keeps a ``ModelEMA`` of the module while the trainer fits it.

    The average moves once an optimizer step, whatever the accumulation of gradients. Validation
    and tests run with the averaged weights. Checkpoints hold the raw weights as the module's and
    the average as the callback's state, also when they are written in the middle of an
    evaluation; a resumed fit goes on with both.

    Args:
        decay: as in ``ModelEMA``.
        batch: samples of one optimizer step, over all devices and accumulation steps.
        evaluate: whether validation and tests use the averaged weights.
        kappa: this batch over that of the checkpoint to resume from, if they differ on purpose.
        **options: further arguments of ``ModelEMA``.

    Example:
        >>> trainer = pl.Trainer(
        ...     max_epochs=1, logger=False, enable_checkpointing=False,
        ...     callbacks=[EMACallback(0.999, batch=256)],
        ... )
    """

    def __init__(
        self,
        decay: Schedule | float,
        *,
        batch: int,
        evaluate: bool = True,
        kappa: float | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        self.decay = decay
        self.batch = _check.count("batch", batch)
        self.evaluate = evaluate
        self.kappa = kappa
        self.options = options
        self.ema: ModelEMA | None = None
        self._stored: Mapping[str, Any] | None = None
        self._step = 0
        self._swap: AbstractContextManager[nn.Module] | None = None

    @override
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Make the average, or take up the checkpoint's."""
        self.ema = ModelEMA(pl_module, self.decay, batch=self.batch, **self.options)
        if self._stored is not None:
            self.ema.load_state_dict(self._stored, kappa=self.kappa)
            self._stored = None

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note where the count of optimizer steps stands."""
        self._step = trainer.global_step

    @override
    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Update if the optimizer has stepped."""
        if self.ema is not None and trainer.global_step != self._step:
            self._step = trainer.global_step
            self.ema.update()

    def _enter(self) -> None:
        if self.evaluate and self.ema is not None and self._swap is None:
            self._swap = self.ema.swap()
            self._swap.__enter__()

    def _leave(self) -> None:
        if self._swap is not None:
            swap, self._swap = self._swap, None
            swap.__exit__(None, None, None)

    @override
    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put the averaged weights in."""
        self._enter()

    @override
    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put the raw weights back, before checkpoints are written."""
        self._leave()

    @override
    def on_test_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put the averaged weights in."""
        self._enter()

    @override
    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put the raw weights back."""
        self._leave()

    @override
    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Put the raw weights back whatever happened."""
        self._leave()

    @override
    def state_dict(self) -> dict[str, Any]:
        """The average's state."""
        return {} if self.ema is None else self.ema.state_dict()

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the state until the module is ready."""
        self._stored = state_dict or None

    @override
    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Make sure that the module's weights in the checkpoint are the raw ones."""
        if self.ema is None or not self.ema.swapped:
            return
        raw = self.ema.raw_weights()
        weights = checkpoint["state_dict"]
        for name in weights:
            if (own := canonical_name(name)) in raw:
                weights[name] = raw[own]
