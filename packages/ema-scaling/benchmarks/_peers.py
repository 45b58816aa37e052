"""The peers of a race, each as a function that makes one update of a model's average.

A peer that is not installed is left out. Each is set up so that one call is one update with the
decay of the race, as its own documentation says.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import torch
from ema_scaling import ModelEMA
from torch import Tensor, nn

DECAY = 0.999


@dataclass
class Contender:
    """A name, one update, and where the average of the first parameter is afterwards."""

    name: str
    update: Callable[[], object]
    first: Callable[[], Tensor]


def resnet50(width: float = 1.0) -> nn.Module:
    """The parameters and buffers of a ResNet-50, 25.56 M in 161 tensors, without a forward."""
    model = nn.Module()

    def conv(name: str, rows: int, columns: int, kernel: int) -> None:
        rows, columns = max(1, int(rows * width)), max(1, int(columns * width))
        layer = nn.Conv2d(columns, rows, kernel, bias=False)
        model.add_module(name, nn.Sequential(layer, nn.BatchNorm2d(rows)))

    model.add_module("stem", nn.Sequential(nn.Conv2d(3, 64, 7, bias=False), nn.BatchNorm2d(64)))
    channels = 64
    for stage, (blocks, inner) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512))):
        for block in range(blocks):
            name = f"stage{stage}_block{block}"
            conv(f"{name}_in", inner, channels, 1)
            conv(f"{name}_mid", inner, inner, 3)
            conv(f"{name}_out", 4 * inner, inner, 1)
            if block == 0:
                conv(f"{name}_skip", 4 * inner, channels, 1)
            channels = 4 * inner
    model.add_module("head", nn.Linear(2048, 1000))
    return model


def small_tensors(count: int) -> nn.Module:
    """``count`` parameters of 64 elements."""
    model = nn.Module()
    model.items = nn.ParameterList([nn.Parameter(torch.randn(64)) for _ in range(count)])
    return model


def first(model: nn.Module) -> Tensor:
    """The first parameter of a module, flat and in float64."""
    return next(model.parameters()).detach().flatten().double()


def floor(elements: int, dtype: torch.dtype = torch.float32) -> Contender:
    """One ``lerp_`` over one flat tensor of the model's size: what memory allows."""
    shadow, source = torch.randn(elements, dtype=dtype), torch.randn(elements, dtype=dtype)
    return Contender(
        "floor: one flat lerp_", lambda: shadow.lerp_(source, 1 - DECAY), lambda: shadow
    )


def bare(model: nn.Module) -> Contender:
    """The bare fused call on lists that are already made."""
    sources = [p.detach() for p in model.parameters()]
    shadows = [p.clone() for p in sources]
    return Contender(
        "bare _foreach_lerp_",
        lambda: torch._foreach_lerp_(shadows, sources, 1 - DECAY),
        lambda: shadows[0].flatten().double(),
    )


def ours(model: nn.Module, **options: object) -> Contender:
    """This package."""
    ema = ModelEMA(model, DECAY, **options)
    label = ", ".join(f"{name}={value}" for name, value in options.items())
    name = f"ema-scaling ({label})" if label else "ema-scaling"

    def value() -> Tensor:
        return next(iter(ema.average.shadow.values())).flatten().double()

    return Contender(name, ema.update, value)


def torch_averaged(model: nn.Module, multi: bool = True) -> Contender:
    """Torch's AveragedModel, by its multi-tensor function or by its single-tensor one."""
    from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn, get_ema_multi_avg_fn

    if multi:
        averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(DECAY))
    else:
        averaged = AveragedModel(model, avg_fn=get_ema_avg_fn(DECAY))
    averaged.update_parameters(model)  # its first call copies
    name = f"torch AveragedModel ({'multi_avg_fn' if multi else 'avg_fn'})"
    return Contender(
        name, lambda: averaged.update_parameters(model), lambda: first(averaged.module)
    )


def timm(model: nn.Module, dtype: torch.dtype | None = None) -> Contender:
    """Timm's ModelEmaV3; a bfloat16 average is rounded stochastically."""
    from timm.utils import ModelEmaV3

    averaged = ModelEmaV3(model, decay=DECAY, dtype=dtype)
    return Contender(
        "timm ModelEmaV3", lambda: averaged.update(model), lambda: first(averaged.module)
    )


def ema_pytorch(model: nn.Module) -> Contender:
    """ema-pytorch, with its fused path, an update at every call."""
    from ema_pytorch import EMA

    averaged = EMA(
        model, beta=DECAY, min_value=DECAY, update_after_step=0, update_every=1, use_foreach=True,
        include_online_model=False,
    )  # fmt: skip
    averaged.update()
    averaged.update()
    return Contender("ema-pytorch (foreach)", averaged.update, lambda: first(averaged.ema_model))


def diffusers(model: nn.Module) -> Contender:
    """Diffusers' EMAModel, with its fused path."""
    from diffusers.training_utils import EMAModel

    parameters = list(model.parameters())
    averaged = EMAModel(parameters, decay=DECAY, min_decay=DECAY, foreach=True)
    averaged.step(parameters)
    return Contender(
        "diffusers EMAModel (foreach)",
        lambda: averaged.step(parameters),
        lambda: averaged.shadow_params[0].flatten().double(),
    )


def torch_ema(model: nn.Module) -> Contender:
    """torch-ema."""
    from torch_ema import ExponentialMovingAverage

    averaged = ExponentialMovingAverage(model.parameters(), decay=DECAY, use_num_updates=False)
    return Contender(
        "torch-ema", averaged.update, lambda: averaged.shadow_params[0].flatten().double()
    )


def lightning(model: nn.Module) -> Contender:
    """Lightning's EMAWeightAveraging as its callback makes it, by default."""
    import lightning.pytorch as pl
    from lightning.pytorch.callbacks import EMAWeightAveraging

    class Wrapped(pl.LightningModule):
        pass

    module = Wrapped()
    module.net = model
    callback = EMAWeightAveraging(decay=DECAY)
    callback.setup(None, module, "fit")
    averaged = callback._average_model
    averaged.update_parameters(module)
    return Contender(
        "Lightning EMAWeightAveraging",
        lambda: averaged.update_parameters(module),
        lambda: first(averaged.module),
    )


def peers(model: nn.Module) -> Iterator[Contender]:
    """All installed peers for a float32 model."""
    makers: list[Callable[[nn.Module], Contender]] = [
        torch_averaged,
        lambda m: torch_averaged(m, multi=False),
        timm,
        ema_pytorch,
        diffusers,
        torch_ema,
        lightning,
    ]
    for make in makers:
        with suppress(ImportError):
            yield make(model)


def check_alike(model: nn.Module, contenders: list[Contender], tolerance: float) -> None:
    """Move the model, update every contender once: all must hold the same average.

    Raises:
        RuntimeError: naming the contender that does not.
    """
    start = copy.deepcopy(first(model))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.ones_like(parameter))
    want = DECAY * start + (1 - DECAY) * first(model)
    for contender in contenders:
        before = contender.first().clone()
        contender.update()
        # a peer that copied at its start holds the same start; its movement is what counts
        off = float((contender.first() - want).abs().max())
        if off > tolerance:
            moved = float((contender.first() - before).abs().max())
            raise RuntimeError(
                f"{contender.name} computes another average: {off:g}, moved {moved:g}"
            )
