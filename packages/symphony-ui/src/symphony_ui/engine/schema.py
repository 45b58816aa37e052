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
    skipped: dict[str, str]  #: columns that no chart holds, and their types


def fetch(expr: Any) -> dict[str, list[Any]]:
    """The columns of a result, as lists."""
    table = expr.to_pyarrow()
    return {name: table.column(name).to_pylist() for name in table.column_names}


def describe(expr: Any) -> Schema:
    """The schema of a table: one question about all columns, and one about what it leaves open."""
    types = dict(expr.schema().items())
    kinds = {name: kind for name, dtype in types.items() if (kind := kind_of(dtype))}
    asked: dict[str, Any] = {"rows": expr.count()}
    for name, kind in kinds.items():
        asked |= _questions(name, kind, expr[name])
    found = _first(expr, asked)
    rows, more = int(found["rows"]), dict[str, Any]()
    for name, kind in kinds.items():
        ends = [found.get(f"{end} {name}") for end in ("lo", "hi")]
        if types[name].is_integer() and any(v is not None and abs(v) > EXACT for v in ends):
            kinds[name] = "big"
        elif kind == "number" and any(v is not None and v - v != 0 for v in ends):
            values = expr[name].cast("float64")
            here = finite(values)
            more |= {f"lo {name}": values.min(where=here), f"hi {name}": values.max(where=here)}
        elif kind == "text" and found[f"levels {name}"] <= min(MANY, max(FEW, rows / 2)):
            kinds[name] = "category"
            more[f"levels {name}"] = expr[name].nunique()
    found |= _first(expr, more) if more else {}
    schema = Schema(
        rows, {}, [], {n: str(t).lstrip("!") for n, t in types.items() if n not in kinds}
    )
    for name, kind in kinds.items():
        field = Field(
            name,
            "text" if kind == "big" else kind,
            kind == "big",
            *_readers(name, kind, types[name]),
        )
        schema.fields[name] = field
        of = [found.get(f"{what} {name}") for what in ("lo", "hi", "levels")]
        schema.specs.append(_spec(field, types[name], *of))
    return schema


def _first(expr: Any, asked: Mapping[str, Any]) -> dict[str, Any]:
    """The one row of an aggregate."""
    return {name: values[0] for name, values in fetch(expr.aggregate(**asked)).items()}


def _questions(name: str, kind: str, column: Any) -> dict[str, Any]:
    """What to ask of a column: its ends, and about how many values differ."""
    asked: dict[str, Any] = {}
    if kind in ("number", "time"):
        asked = {f"lo {name}": column.min(), f"hi {name}": column.max()}
    if kind == "time":
        asked = {end: milliseconds(value) for end, value in asked.items()}
    if kind == "text" or column.type().is_integer():
        asked[f"levels {name}"] = column.approx_nunique()
    return asked


def _spec(field: Field, dtype: Any, lo: Any, hi: Any, levels: Any) -> dict[str, Any]:
    """What the page's spec says of a column."""
    if field.kind == "bool":
        levels = 2
    return {
        "name": field.name,
        "kind": field.kind,
        "dtype": "int64" if field.big else str(dtype).lstrip("!"),
        "integer": bool(dtype.is_integer()) and not field.big,
        "zone": dtype.timezone if dtype.is_timestamp() else None,
        "url": False,
        "levels": None if levels is None or field.kind == "text" else int(levels),
        "extent": None if field.big or lo is None or hi is None else [float(lo), float(hi)],
        "media": None,
    }


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


def finite(wide: Any) -> Any:
    """Whether a float is finite; null is not.

    Not by ``isnan``: DuckDB answers that from the least and the greatest value that a Parquet
    file notes, which leave NaN out.
    """
    return (wide - wide == 0).fill_null(False)


def _readers(name: str, kind: str, dtype: Any) -> tuple[Any, Any]:
    """How to read a column of a table: null where it is missing, and with NaN where it has it."""

    def plain(table: Any) -> Any:
        column = table[name]
        if kind == "time":
            return milliseconds(column).cast("float64")
        return column.cast("float64") if kind == "number" else column

    def value(table: Any) -> Any:
        import ibis

        wide = plain(table)
        here = finite(wide) | wide.isinf().fill_null(False)
        return ibis.ifelse(here, wide, ibis.null("float64"))

    return (value if dtype.is_floating() else plain), plain
