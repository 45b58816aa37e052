"""The components of a page: what to show of which columns. They draw nothing; the browser does."""

import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Literal, dataclass_transform

from symphony_ui.errors import FormatError, SymphonyError

Names = str | Sequence[str]
COLUMN_OPTIONS = (
    "x", "y", "by", "lo", "hi", "value", "column", "columns", "label", "prediction", "color",
    "media", "caption", "slider", "similarity",
)  # fmt: skip

TAKEN = ("esm", "type", "options", "module")  # names that no option can have


@dataclass_transform(frozen_default=True)
@dataclass(frozen=True)
class Component:
    """A part of a page. Subclass it, with ``esm``, for one of your own.

    A subclass is a dataclass by itself: its annotated fields are what the browser finds in
    ``ctx.options``. ``esm`` is the path of a JavaScript module, beside the class's own file, or
    its text; it ends in one ``export default { render({ctx, el, signal}) {...} }``.

    Example:
        >>> class Violin(Component):
        ...     esm = "export default { render({ctx, el}) { el.textContent = ctx.rows; } }"
        ...     column: str
        >>> Violin("score", title="Scores").options()
        {'title': 'Scores', 'column': 'score'}
    """

    esm: ClassVar[str | Path | None] = None
    type: ClassVar[str] = "component"

    _: KW_ONLY
    title: str | None = None  #: None: made from the columns
    height: int | None = None  #: px
    width: float | None = None  #: weight within its row; None is 1

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in inspect.get_annotations(cls):  # Python compiles them
            if not name.isidentifier():
                raise SymphonyError(f"an option cannot be named {name!r}: call it otherwise")
        if "type" not in cls.__dict__:
            cls.type = cls.__name__.lower()
        for made in fields(dataclass(frozen=True)(cls)):
            if made.name in TAKEN:
                raise SymphonyError(f"an option cannot be named {made.name!r}: call it otherwise")

    def options(self) -> dict[str, Any]:
        """What the browser is told, without what is left to its default."""
        pairs = ((f.name, plain(getattr(self, f.name))) for f in fields(self))  # type: ignore[arg-type]
        return {name: value for name, value in pairs if value is not None}

    def module(self) -> str | None:
        """The text of the JavaScript module of a component of the user's own.

        Raises:
            FormatError: if the file is not there, or exports nothing.
        """
        if self.esm is None:
            return None
        text = str(self.esm)
        if "\n" not in text and "export default" not in text:
            text = _read(_beside(type(self)) / text, type(self).__name__)
        if text.count("export default") != 1:
            raise FormatError(
                f"the module of {type(self).__name__} must hold one 'export default', "
                f"got {text.count('export default')}"
            )
        return text


def _beside(cls: type) -> Path:
    """The folder of the file that a class was written in; the working folder in a notebook."""
    try:
        return Path(inspect.getfile(cls)).parent
    except (TypeError, OSError):
        file = getattr(sys.modules.get(cls.__module__), "__file__", None)
        return Path(file).parent if file else Path()


def _read(path: Path, who: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"the module of {who} cannot be read: {error}") from error


def plain(value: Any) -> Any:
    """An option as JSON holds it: sequences as lists, numpy's numbers as Python's.

    Raises:
        SymphonyError: if it is nothing that JSON holds.
    """
    if isinstance(value, float) and not float("-inf") < value < float("inf"):
        raise SymphonyError(f"an option must be finite, got {value}")
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(held) for key, held in value.items()}
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(held) for held in value]
    raise SymphonyError(f"an option must be text, a number, a list or a mapping, got {value!r}")


class Summary(Component):
    """A chart of every column; each of them brushes."""

    columns: Sequence[str] | None = None  #: None: all that can be drawn
    bins: int | None = None  #: about how many; 20


class Table(Component):
    """The rows as a table that sorts and selects."""

    columns: Sequence[str] | None = None


class Instances(Component):
    """The rows as images, sounds or texts with a caption."""

    media: str | None = None  #: None: the first media column
    caption: Sequence[str] = ()
    size: int | None = None  #: px of an image's side
    slider: str | None = None  #: a column to step through


class Scatter(Component):
    """Points that are hovered, and selected by a lasso."""

    x: str
    y: str
    color: str | None = None
    media: str | None = None  #: shown on hover


class Duplicates(Component):
    """Groups of near duplicates, the largest first."""

    column: str  #: the number of a row's group; negative or missing: in none
    similarity: str | None = None  #: a column with the lowest similarity within the group
    media: str | None = None
    caption: Sequence[str] = ()


class Familiarity(Component):
    """How usual the rows are: a histogram, the most and the least familiar."""

    column: str
    by: Names | None = None
    media: str | None = None
    caption: Sequence[str] = ()
    n: int | None = None  #: how many of either end; 8
    bins: int | None = None


class ConfusionMatrix(Component):
    """Labels against predictions; with ``sep`` a tree of classes that folds."""

    label: str
    prediction: str
    sep: str | None = None
    normalize: Literal["none", "label", "prediction"] = "none"

    type = "confusion"


class Subgroups(Component):
    """A metric in each subgroup, with Wilson intervals."""

    label: str
    prediction: str
    by: Names | None = None  #: None: what the page is grouped by
    metric: Literal["accuracy", "precision", "recall", "f1", "rate"] = "accuracy"
    positive: Any = None  #: the positive class; None: the mean over classes
    n_min: int = 30  #: smaller groups are marked


class Lines(Component):
    """Series over x, with a band where several rows share it."""

    x: str
    y: Names
    by: Names = ()
    lo: str | None = None  #: column of the band's lower edge
    hi: str | None = None
    band: Literal["minmax", "std", "none"] = "minmax"
    log_x: bool = False
    log_y: bool = False
    slider: str | None = None


class Heatmap(Component):
    """Two columns against each other: counts, or a value's mean or sum."""

    x: str
    y: str
    value: str | None = None
    aggregate: Literal["mean", "sum"] = "mean"
    center: float | None = None  #: a number: colours diverge about it
    bins: int | None = None  #: of numeric axes; 12


class Compare(Component):
    """Columns of media or values side by side, row by row."""

    columns: Sequence[str]
    caption: Sequence[str] = ()
    size: int | None = None
    slider: str | None = None


class Annotate(Component):
    """Rows one by one, to label and note by keys; ``page.annotations`` has them."""

    labels: Sequence[str] = ()
    media: str | None = None
    caption: Sequence[str] = ()


class Markdown(Component):
    """Text with headings, emphasis, lists, code and links; no HTML."""

    text: str


class Choropleth(Component):
    """Regions of a GeoJSON that you bring, shaded by counts or a value."""

    column: str
    geojson: Mapping[str, Any] = field(repr=False)
    key: str | None = None  #: "id", or a name among the properties
    value: str | None = None
    aggregate: Literal["mean", "sum"] = "mean"


class Vega(Component):
    """A Vega-Lite chart; ``{"name": "table"}`` as its data are the visible rows."""

    spec: Mapping[str, Any] = field(repr=False)


BUILT_IN: dict[str, type[Component]] = {
    cls.type: cls
    for cls in (
        Summary, Table, Instances, Scatter, Duplicates, Familiarity, ConfusionMatrix, Subgroups,
        Lines, Heatmap, Compare, Annotate, Markdown, Choropleth, Vega,
    )
}  # fmt: skip


@dataclass(frozen=True)
class Tab:
    """A page of its own behind a tab: rows of components."""

    name: str
    rows: Sequence[Component | Sequence[Component]]


def columns_named(component: Component) -> Iterator[tuple[str, str]]:
    """The options of a built-in component that name a column, and the names."""
    for option in COLUMN_OPTIONS:
        value = getattr(component, option, None)
        if value is not None:
            yield from (
                (option, n) for n in (value if isinstance(value, (list, tuple)) else [value])
            )


class _Restored(Component):
    """A component of the user's own out of a saved page: its options are data and name nothing."""

    held: Mapping[str, Any]

    def options(self) -> dict[str, Any]:
        return plain(self.held)


def restored(kind: str, options: Mapping[str, Any], esm: str | None) -> Component:
    """The component of a page's spec that nobody vouches for.

    Raises:
        FormatError: if it is none.
    """
    if not isinstance(kind, str) or not isinstance(options, Mapping):
        raise FormatError(f"a component has a type and options, got {kind!r} and {options!r}"[:200])
    cls = BUILT_IN.get(kind)
    if cls is None:
        return type("Restored", (_Restored,), {"esm": esm, "type": kind})(options)
    try:
        return cls(**options)
    except TypeError as error:
        raise FormatError(f"a component {kind!r} has options that do not fit: {error}") from error
