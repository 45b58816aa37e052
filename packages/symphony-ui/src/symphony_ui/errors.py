"""The errors of this package: each a ValueError that names what came and what would do."""


class SymphonyError(ValueError):
    """Bad input to this package; every error below is one."""


class ColumnError(SymphonyError):
    """A column that is missing, doubled, or of a kind that does not fit."""


class FilterError(SymphonyError):
    """A filter that cannot be read, or that does not fit the table."""

    def __init__(self, message: str, pos: int | None = None) -> None:
        super().__init__(message)
        self.pos = pos


class MediaError(SymphonyError):
    """An image, a sound or a text that cannot be read or may not be."""


class SizeError(SymphonyError):
    """A result that would be larger than it may be."""


class FormatError(SymphonyError):
    """A file that is not what it claims to be."""
