"""Tables: columns of equal length that print, iterate and write themselves."""

import csv
import io
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpsa_fair.counts import write_atomically

__all__ = ["Column", "Table"]

Column = Sequence[Any] | NDArray[Any]
"""A column of a table: a list of strings or numbers, or an array."""


def plain(value: Any) -> Any:
    """A numpy scalar as Python's own, for text formats."""
    return value.item() if isinstance(value, np.generic) else value


def shown(value: Any) -> str:
    """A value for people: four decimals at most, a dash where there is none."""
    value = plain(value)
    if isinstance(value, bool) or value is None:
        return "-" if value is None else ("yes" if value else "no")
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:.4g}"
    return str(value)


@dataclass(frozen=True, eq=False)
class Table:
    """Columns of equal length.

    Attributes:
        columns: name to values.

    Raises:
        ValueError: if the lengths differ.

    Example:
        >>> print(Table({"group": ["dark", "light"], "gap": [0.31, 0.0]}))
        group   gap
        dark   0.31
        light     0
    """

    columns: Mapping[str, Column]

    def __post_init__(self) -> None:
        lengths = {name: len(values) for name, values in self.columns.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns must have one length, got {lengths}")

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def __getitem__(self, name: str) -> Column:
        if name not in self.columns:
            raise KeyError(f"no column {name!r}; there are {list(self.columns)}")
        return self.columns[name]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for row in zip(*self.columns.values(), strict=True):
            yield {k: plain(v) for k, v in zip(self.columns, row, strict=True)}

    def __str__(self) -> str:
        cells = [[name, *map(shown, values)] for name, values in self.columns.items()]
        numeric = [not any(isinstance(plain(v), str) for v in c) for c in self.columns.values()]
        wide = [max(map(len, column)) for column in cells]
        lines = []
        for row in zip(*cells, strict=True):
            parts = zip(row, wide, numeric, strict=True)
            line = "  ".join(t.rjust(w) if right else t.ljust(w) for t, w, right in parts)
            lines.append(line.rstrip())
        return "\n".join(lines)

    def to_table(self) -> dict[str, Column]:
        """The columns, for any tool that takes a mapping of columns."""
        return dict(self.columns)

    def to_csv(self, path: str | os.PathLike[str] | None = None) -> str:
        """CSV text, written to ``path`` if one is given; NaN is empty."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(self.columns)
        for row in self:
            writer.writerow("" if v is None or v != v else v for v in row.values())
        return _written(out.getvalue(), path)

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """JSON object of columns; NaN and infinity are null, as JSON has neither."""
        columns = {k: [finite(plain(v)) for v in values] for k, values in self.columns.items()}
        return _written(json.dumps(columns, indent=1, allow_nan=False) + "\n", path)

    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """Parquet file.

        Raises:
            ImportError: without pyarrow, which the extra ``parquet`` installs.
        """
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError as error:
            raise ImportError("Parquet needs pyarrow: pip install 'vpsa-fair[parquet]'") from error
        buffer = io.BytesIO()
        rows = {k: [plain(v) for v in values] for k, values in self.columns.items()}
        pq.write_table(pa.table(rows), buffer)
        write_atomically(path, buffer.getvalue())


def finite(value: Any) -> Any:
    """None in place of a float that JSON cannot say."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _written(text: str, path: str | os.PathLike[str] | None) -> str:
    if path is not None:
        write_atomically(path, text.encode())
    return text
