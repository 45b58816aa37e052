"""Self-supervision on the fibers of an equivariant network."""

from homssl.check import (
    Certificate,
    LayerError,
    NotHomomorphicError,
    assert_homomorphic,
    equivariance_error,
)
from homssl.experiment import FailureCell, SweepCell, run_failure_cell, run_sweep_cell
from homssl.fibers import fibers, sample_elements
from homssl.framework import ASSL, HSSL, EMATeacher, SSLOutput
from homssl.groups import Cyclic, Dihedral, Group
from homssl.kernels import expand_kernel, turned_kernels
from homssl.layers import GroupConv2d, LiftConv2d
from homssl.losses import cosine_regression, info_nce
from homssl.measures import step_seconds
from homssl.models import group_convnet, group_resnet, unstructured
from homssl.plots import plot_certificate, plot_sweep
from homssl.pooling import GroupBatchNorm2d, GroupMean, GroupPool2d
from homssl.product import Product, parse_group
from homssl.scale import Scale
from homssl.synthetic import synthetic_images
from homssl.translation import Translation

__all__ = [
    "ASSL",
    "HSSL",
    "Certificate",
    "Cyclic",
    "Dihedral",
    "EMATeacher",
    "FailureCell",
    "Group",
    "GroupBatchNorm2d",
    "GroupConv2d",
    "GroupMean",
    "GroupPool2d",
    "LayerError",
    "LiftConv2d",
    "NotHomomorphicError",
    "Product",
    "SSLOutput",
    "Scale",
    "SweepCell",
    "Translation",
    "assert_homomorphic",
    "cosine_regression",
    "equivariance_error",
    "expand_kernel",
    "fibers",
    "group_convnet",
    "group_resnet",
    "info_nce",
    "parse_group",
    "plot_certificate",
    "plot_sweep",
    "run_failure_cell",
    "run_sweep_cell",
    "sample_elements",
    "step_seconds",
    "synthetic_images",
    "turned_kernels",
    "unstructured",
]
