"""What goes wrong, by what is at fault: the data, the levels, the model; and what is doubtful."""

import struct
import zipfile
import zlib
from tokenize import TokenError

__all__ = ["DataError", "LevelError", "ModelError", "ResolutionWarning", "SmallGroupWarning"]


SPOILT = (  # what numpy, zipfile and json raise on bytes that are none of theirs
    ValueError, TypeError, KeyError, AttributeError, SyntaxError, EOFError, OverflowError,
    MemoryError, RuntimeError, TokenError, struct.error, zlib.error, zipfile.BadZipFile,
)  # fmt: skip


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
