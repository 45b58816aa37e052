"""Steer a language or diffusion model by transporting its activations."""

from act_steer.aura import AurA
from act_steer.chain import ChainTransport
from act_steer.errors import (
    DegenerateWarning,
    NoModuleMatched,
    ShapeMismatch,
    SmallSampleWarning,
    SteeringFileError,
)
from act_steer.moments import Moments
from act_steer.quality import Quality, quality, wasserstein2
from act_steer.quantile import QuantileTransport
from act_steer.report import ModuleReport, Report
from act_steer.steering import Steering, load
from act_steer.transport import (
    AffineTransport,
    GaussianTransport,
    LinearTransport,
    MeanTransport,
    Transport,
)

__all__ = [
    "AffineTransport",
    "AurA",
    "ChainTransport",
    "DegenerateWarning",
    "GaussianTransport",
    "LinearTransport",
    "MeanTransport",
    "ModuleReport",
    "Moments",
    "NoModuleMatched",
    "Quality",
    "QuantileTransport",
    "Report",
    "ShapeMismatch",
    "SmallSampleWarning",
    "Steering",
    "SteeringFileError",
    "Transport",
    "load",
    "quality",
    "wasserstein2",
]
