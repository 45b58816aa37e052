"""What the columns of a database are, asked in one question."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from symphony_ui.columns import EXACT, FEW, MANY
from symphony_ui.engine.expressions import Field


@dataclass(frozen=True)
class Schema:
    """How many rows there are, and the columns that a page can show."""

    rows: int
    fields: dict[str, Field]
    specs: list[dict[str, Any]]


def fetch(expr: Any) -> dict[str, list[Any]]:
    """The columns of a result, as lists."""
    table = expr.to_pyarrow()
    return {name: table.column(name).to_pylist() for name in table.column_names}


# what there is


def describe(expr: Any) -> Schema:
    """The schema of a table expression; one question about all columns, and one a category."""
    types = dict(expr.schema().items())
    kinds = {name: kind for name, dtype in types.items() if (kind := kind_of(dtype))}
    asked: dict[str, Any] = {"rows": expr.count()}
    for name, kind in kinds.items():
        asked |= _questions(name, kind, expr[name], types[name].is_integer())
    found = {name: values[0] for name, values in fetch(expr.aggregate(**asked)).items()}
    schema = Schema(int(found["rows"]), {}, [])
    for name, kind in kinds.items():
        levels: Any = found.get(f"levels {name}")
        if kind == "text" and levels <= min(MANY, max(FEW, schema.rows / 2)):
            kind = "category"
            levels = int(fetch(expr.aggregate(n=expr[name].nunique()))["n"][0])
        _add(schema, name, kind, types[name], levels, found)
    return schema


def _questions(name: str, kind: str, column: Any, whole: bool) -> dict[str, Any]:
    """What to ask of a column: its ends, and about how many values differ."""
    asked: dict[str, Any] = {}
    if kind == "number":
        values = column.cast("float64")
        real = ~(values.isnan() | values.isinf())
        asked = {f"lo {name}": values.min(where=real), f"hi {name}": values.max(where=real)}
        if whole:
            asked[f"least {name}"] = column.min().cast("string")
            asked[f"most {name}"] = column.max().cast("string")
    elif kind == "time":
        ms = milliseconds(column)
        asked = {f"lo {name}": ms.min(), f"hi {name}": ms.max()}
    if kind == "text" or whole:
        asked[f"levels {name}"] = column.approx_nunique()
    return asked


def _add(
    schema: Schema, name: str, kind: str, dtype: Any, levels: Any, found: Mapping[str, Any]
) -> None:
    """Adds a column's field and what the page's spec says of it."""
    ends = [found.get(f"{end} {name}") for end in ("least", "most")]
    big = any(end is not None and abs(int(end)) > EXACT for end in ends)
    kind = "text" if big else kind
    schema.fields[name] = Field(name, kind, big, _value(name, kind, big))
    lo, hi = found.get(f"lo {name}"), found.get(f"hi {name}")
    schema.specs.append(
        {
            "name": name,
            "kind": kind,
            "dtype": "int64" if big else str(dtype).lstrip("!"),
            "integer": bool(dtype.is_integer()) and not big,
            "zone": dtype.timezone if dtype.is_timestamp() else None,
            "url": False,
            "levels": 2 if kind == "bool" else None if levels is None or big else int(levels),
            "extent": None if lo is None or hi is None or big else [float(lo), float(hi)],
            "media": None,
        }
    )


def kind_of(dtype: Any) -> str | None:
    """The kind of a column of that Ibis type; None is left out."""
    if dtype.is_boolean():
        return "bool"
    if dtype.is_numeric():
        return "number"
    if dtype.is_timestamp() or dtype.is_date():
        return "time"
    return "text" if dtype.is_string() else None


def milliseconds(column: Any) -> Any:
    """UTC epoch milliseconds of a timestamp or a date."""
    if column.type().is_date():
        column = column.cast("timestamp")
    return column.truncate("s").epoch_seconds() * 1000 + column.millisecond()


def _value(name: str, kind: str, big: bool) -> Any:
    """How to read a column of a table: null where it is missing."""

    def value(table: Any) -> Any:
        import ibis

        column = table[name]
        if kind == "time":
            return milliseconds(column).cast("float64")
        if kind != "number" or big:
            return column
        wide = column.cast("float64")
        return ibis.ifelse(wide.isnan(), ibis.null("float64"), wide)

    return value
