"""What goes wrong by name: every error of this package is also a plain ValueError or warning."""


class NoModuleMatched(ValueError):
    """No module of the model has a name that was asked for, or a preset does not fit the model."""


class ShapeMismatch(ValueError):
    """A map and the activations that it is to move have different widths."""


class SteeringFileError(ValueError):
    """A file of maps is damaged, of another format, or holds what no map can hold."""


class DegenerateWarning(UserWarning):
    """Some neurons hardly vary over the source prompts: they are shifted, and not scaled."""


class SmallSampleWarning(UserWarning):
    """So few prompts that scales are mostly chance."""


class UnboundedWarning(UserWarning):
    """Maps that scale everywhere, on modules where far activations are amplified."""
