"""What can be seen in an encoder before any image has passed it."""

from torch import nn

from homssl.groups import Group
from homssl.layers import GroupConv2d, LiftConv2d


def refuse_breaking(encoder: nn.Module, group: Group) -> None:
    """Raise on layers of another group, and on batch normalisation of orientations one by one."""
    channels = 0
    for name, module in encoder.named_modules():
        if isinstance(module, LiftConv2d | GroupConv2d):
            if module.group.point != group.point or module.group.levels != group.levels:
                raise ValueError(
                    f"encoder.{name} is a layer of {module.group}, but the group is {group}"
                )
            channels = module.out_channels
        one_by_one = isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)
        if one_by_one and channels and group.axis > 1:
            if module.num_features == channels * group.axis:
                raise ValueError(
                    f"encoder.{name} normalises each orientation on its own, which breaks the "
                    f"equivariance of {group}: use GroupBatchNorm2d({channels}, group); "
                    "allow_approximate=True takes it all the same"
                )
