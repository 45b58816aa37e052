"""Representations with a readable, steerable pose axis."""

from duet.baselines import ESSL, SimCLR
from duet.control import set_parameter, shift
from duet.data import read_images
from duet.decoder import Decoder, fit_decoder
from duet.encoders import ConvNet, ProjectionHead
from duet.evaluate import EquivarianceReport, Yardsticks, equivariance_report
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
from duet.grid import ControlledGrid, controlled_grid
from duet.harness import Trace, embed, fit
from duet.kornia import read_kornia
from duet.layer import DuetMatrix, DuetOutput
from duet.loss import DuetLoss, DuetLossOutput, group_loss, js_divergence, relative_group_loss
from duet.model import Duet, steer
from duet.objective import nt_xent
from duet.plots import plot_grid, plot_marginals, plot_readout
from duet.probe import PoseErrors, ProbeScore, linear_probe, pose_errors, pose_probe
from duet.readout import read_cyclic, read_finite
from duet.synthetic import synthetic_images
from duet.targets import gaussian_target, von_mises_target
from duet.views import ParamView, View, transform

__all__ = [
    "ESSL",
    "ControlledGrid",
    "ConvNet",
    "Decoder",
    "Duet",
    "DuetLoss",
    "DuetLossOutput",
    "DuetMatrix",
    "DuetOutput",
    "EquivarianceReport",
    "Factor",
    "ParamView",
    "PoseErrors",
    "ProbeScore",
    "ProjectionHead",
    "SimCLR",
    "Trace",
    "View",
    "Yardsticks",
    "brightness",
    "contrast",
    "controlled_grid",
    "embed",
    "equivariance_report",
    "fit",
    "fit_decoder",
    "gaussian_target",
    "group_loss",
    "hflip",
    "hue",
    "js_divergence",
    "linear_probe",
    "nt_xent",
    "plot_grid",
    "plot_marginals",
    "plot_readout",
    "pose_errors",
    "pose_probe",
    "read_cyclic",
    "read_finite",
    "read_images",
    "read_kornia",
    "relative_group_loss",
    "rotation",
    "rotation4",
    "saturation",
    "scale",
    "set_parameter",
    "shift",
    "steer",
    "synthetic_images",
    "transform",
    "vflip",
    "von_mises_target",
]
