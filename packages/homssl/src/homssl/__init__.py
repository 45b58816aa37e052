"""Self-supervision on the fibers of an equivariant network."""

from homssl.groups import Cyclic, Dihedral, Group
from homssl.kernels import expand_kernel, turned_kernels
from homssl.layers import GroupConv2d, LiftConv2d
from homssl.pooling import GroupBatchNorm2d, GroupMean, GroupPool2d
from homssl.product import Product, parse_group
from homssl.scale import Scale
from homssl.translation import Translation

__all__ = [
    "Cyclic",
    "Dihedral",
    "Group",
    "GroupBatchNorm2d",
    "GroupConv2d",
    "GroupMean",
    "GroupPool2d",
    "LiftConv2d",
    "Product",
    "Scale",
    "Translation",
    "expand_kernel",
    "parse_group",
    "turned_kernels",
]
