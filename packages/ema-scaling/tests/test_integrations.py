"""The hooks, against the real libraries."""

import math
import warnings

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

pytest.importorskip("lightning")
pytest.importorskip("accelerate")

import lightning.pytorch as pl
from accelerate import Accelerator
from ema_scaling import ModelEMA
from ema_scaling.integrations.accelerate import follow
from ema_scaling.integrations.lightning import EMACallback


def loader(rows=24, batch=4):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(rows, 3, generator=g)
    return DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=batch)


class Module(pl.LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Linear(3, 1)
        self.seen = []

    def training_step(self, batch, _):
        return (self.net(batch[0]) - batch[1]).square().mean()

    def validation_step(self, batch, _):
        self.seen.append(self.net.weight.detach().clone())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05)


def trainer(callback, folder, **options):
    settings = {
        "max_epochs": 2, "logger": False, "enable_progress_bar": False, "accelerator": "cpu",
        "enable_model_summary": False, "default_root_dir": folder, "devices": 1, **options,
    }  # fmt: skip
    return pl.Trainer(callbacks=callback, **settings)


def fit(made, module, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice about workers and logging intervals
        made.fit(module, loader(), loader(), **options)


def test_lightning_updates_once_an_optimizer_step_and_validates_averaged(tmp_path):
    callback, module = EMACallback(0.5, batch=8), Module()
    fit(
        trainer([callback], tmp_path, accumulate_grad_batches=2, enable_checkpointing=False), module
    )
    assert callback.ema.samples == 2 * 24  # six batches of 4 an epoch, two a step
    assert callback.ema.clock.updates == 6
    torch.testing.assert_close(module.seen[-1], callback.ema.weights()["net.weight"])
    assert not torch.equal(module.seen[-1], module.net.weight)


def test_lightning_equals_an_average_by_hand(tmp_path):
    callback, module, other = EMACallback(0.9, batch=4), Module(), Module()
    fit(trainer([callback], tmp_path, enable_checkpointing=False), module)
    ema = ModelEMA(other, 0.9, batch=4)
    optimizer = other.configure_optimizers()
    for _ in range(2):
        for batch in loader():
            optimizer.zero_grad()
            other.training_step(batch, 0).backward()
            optimizer.step()
            ema.update()
    for name, value in ema.weights().items():
        torch.testing.assert_close(callback.ema.weights()[name], value)


class SaveInsideValidation(pl.Callback):
    """Writes a checkpoint at the worst moment: while the averaged weights are in."""

    def __init__(self, path):
        self.path = path

    def on_validation_batch_end(self, trainer, *_):
        trainer.save_checkpoint(self.path)


def test_lightning_checkpoints_hold_raw_weights_even_in_the_middle_of_validation(tmp_path):
    path = tmp_path / "inside.ckpt"
    callback, module = EMACallback(0.9, batch=4), Module()
    fit(trainer([callback, SaveInsideValidation(path)], tmp_path), module)
    stored = torch.load(path, weights_only=True)
    assert torch.equal(stored["state_dict"]["net.weight"], module.net.weight)
    (state,) = [s for k, s in stored["callbacks"].items() if "EMACallback" in k]
    assert torch.equal(state["shadow"]["net.weight"], callback.ema.weights()["net.weight"])


def test_a_resumed_lightning_fit_equals_one_that_never_stopped(tmp_path):
    whole, whole_module = EMACallback(0.9, batch=4), Module()
    fit(trainer([whole], tmp_path, max_epochs=4, enable_checkpointing=False), whole_module)

    first, path = EMACallback(0.9, batch=4), tmp_path / "half.ckpt"
    half = trainer([first], tmp_path, max_epochs=2)
    fit(half, Module())
    half.save_checkpoint(path)
    second, module = EMACallback(0.9, batch=4), Module()
    fit(trainer([second], tmp_path, max_epochs=4), module, ckpt_path=path)
    assert torch.equal(module.net.weight, whole_module.net.weight)
    assert second.ema.clock == whole.ema.clock
    assert torch.equal(second.ema.weights()["net.weight"], whole.ema.weights()["net.weight"])

    other_batch = trainer([EMACallback(0.9, batch=8)], tmp_path, max_epochs=4)
    with pytest.raises(ValueError, match=r"the state's schedule is|saved at batch 4"):
        fit(other_batch, Module(), ckpt_path=path)


class Failing(Module):
    def validation_step(self, batch, index):
        if self.trainer.current_epoch == 1:
            raise ZeroDivisionError("in validation")


def test_an_exception_in_validation_leaves_the_raw_weights(tmp_path):
    callback, module = EMACallback(0.9, batch=4), Failing()
    with pytest.raises(ZeroDivisionError):
        fit(trainer([callback], tmp_path, enable_checkpointing=False), module)
    assert not callback.ema.swapped
    assert not torch.equal(module.net.weight, callback.ema.weights()["net.weight"])


def test_lightning_tests_run_averaged_too(tmp_path):
    class Tested(Module):
        def test_step(self, batch, index):
            self.tested = self.net.weight.detach().clone()

    callback, module = EMACallback(0.9, batch=4), Tested()
    made = trainer([callback], tmp_path, enable_checkpointing=False)
    fit(made, module)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made.test(module, loader(), verbose=False)
    assert torch.equal(module.tested, callback.ema.weights()["net.weight"])
    assert not torch.equal(module.tested, module.net.weight)


def accelerated(accumulation=2):
    torch.manual_seed(0)
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=accumulation)
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    return accelerator, *accelerator.prepare(model, optimizer, loader())


def test_accelerate_counts_real_steps_only(tmp_path):
    accelerator, model, optimizer, data = accelerated()
    ema = follow(accelerator, model, optimizer, 0.9, batch_per_device=4)
    assert ema.batch == 8
    for x, y in data:
        with accelerator.accumulate(model):
            accelerator.backward((model(x) - y).square().mean())
            optimizer.step()
            optimizer.zero_grad()
    assert ema.clock.updates == 3
    assert ema.samples == 24

    accelerator.save_state(tmp_path / "state")
    assert (tmp_path / "state" / "ema.safetensors").exists()
    before = {k: v.clone() for k, v in ema.weights().items()}
    optimizer.step()
    ema.update()
    accelerator.load_state(tmp_path / "state")
    assert ema.samples == 24
    for name, value in ema.weights().items():
        assert torch.equal(value, before[name])
    assert math.isfinite(ema.lag().relative)
