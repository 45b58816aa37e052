"""Steer a language or diffusion model by transporting its activations."""

from act_steer.absorb import NotFoldable
from act_steer.apply import Attachment, StrengthWarning, apply, attach
from act_steer.aura import AurA
from act_steer.batches import Batch, batches_of
from act_steer.chain import ChainTransport
from act_steer.collect import collect
from act_steer.control_vector import export_gguf
from act_steer.diffusion import fit_denoiser, fit_pipeline
from act_steer.errors import (
    DegenerateWarning,
    NoModuleMatched,
    ShapeMismatch,
    SmallSampleWarning,
    SteeringFileError,
    UnboundedWarning,
)
from act_steer.fit import fit
from act_steer.fold import fold
from act_steer.modules import select
from act_steer.moments import Moments
from act_steer.ot import FullGaussianTransport
from act_steer.plot import plot_strength, plot_sweep
from act_steer.pooling import pool
from act_steer.quality import Quality, quality, wasserstein2
from act_steer.quantile import QuantileTransport
from act_steer.report import ModuleReport, Report
from act_steer.runs import Recipe, Run, fit_runs
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
    "Attachment",
    "AurA",
    "Batch",
    "ChainTransport",
    "DegenerateWarning",
    "FullGaussianTransport",
    "GaussianTransport",
    "LinearTransport",
    "MeanTransport",
    "ModuleReport",
    "Moments",
    "NoModuleMatched",
    "NotFoldable",
    "Quality",
    "QuantileTransport",
    "Recipe",
    "Report",
    "Run",
    "ShapeMismatch",
    "SmallSampleWarning",
    "Steering",
    "SteeringFileError",
    "StrengthWarning",
    "Transport",
    "UnboundedWarning",
    "apply",
    "attach",
    "batches_of",
    "collect",
    "export_gguf",
    "fit",
    "fit_denoiser",
    "fit_pipeline",
    "fit_runs",
    "fold",
    "load",
    "plot_strength",
    "plot_sweep",
    "pool",
    "quality",
    "select",
    "wasserstein2",
]
