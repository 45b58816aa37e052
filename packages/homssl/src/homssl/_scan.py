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
        wide = channels * group.axis if group.axis > 1 else 0
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and wide == module.num_features:
            raise ValueError(
                f"encoder.{name} normalises each orientation on its own, which breaks the "
                f"equivariance of {group}: use GroupBatchNorm2d({channels}, group); "
                "allow_approximate=True takes it all the same"
            )
