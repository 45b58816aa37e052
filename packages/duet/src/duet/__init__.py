"""Representations with a readable, steerable pose axis."""

from duet.control import set_parameter, shift
from duet.factors import (
    Factor,
    brightness,
    contrast,
    hflip,
    hue,
    rotation,
    rotation4,
    saturation,
    scale,
    vflip,
)
from duet.layer import DuetMatrix, DuetOutput
from duet.loss import DuetLoss, DuetLossOutput, group_loss, js_divergence, relative_group_loss
from duet.objective import nt_xent
from duet.targets import gaussian_target, von_mises_target
from duet.views import ParamView, View, transform

__all__ = [
    "DuetLoss",
    "DuetLossOutput",
    "DuetMatrix",
    "DuetOutput",
    "Factor",
    "ParamView",
    "View",
    "brightness",
    "contrast",
    "gaussian_target",
    "group_loss",
    "hflip",
    "hue",
    "js_divergence",
    "nt_xent",
    "relative_group_loss",
    "rotation",
    "rotation4",
    "saturation",
    "scale",
    "set_parameter",
    "shift",
    "transform",
    "vflip",
    "von_mises_target",
]
