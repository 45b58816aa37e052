"""What goes wrong, by what is at fault: the data, the levels, the model; and what is doubtful."""

__all__ = ["DataError", "LevelError", "ModelError", "ResolutionWarning", "SmallGroupWarning"]


class DataError(ValueError):
    """Images, labels or tables cannot be used; the message names file, column or group."""


class LevelError(ValueError):
    """A level lies outside of what a perturbation can do, or a grid of levels is no grid."""


class ModelError(ValueError):
    """A model's answer cannot be used; the message names the image."""


class SmallGroupWarning(UserWarning):
    """A group has fewer identities than its figures need."""


class ResolutionWarning(UserWarning):
    """Too few impostor trials for the false match rate that was asked for."""
