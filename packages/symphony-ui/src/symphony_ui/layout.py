"""From components to the layout of a page: ids, checks, and a good layout where none is given."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from symphony_ui.components import (
    BUILT_IN,
    Component,
    ConfusionMatrix,
    Duplicates,
    Familiarity,
    Instances,
    Scatter,
    Subgroups,
    Summary,
    Tab,
    Table,
    columns_named,
    restored,
)
from symphony_ui.errors import ColumnError, FormatError, SymphonyError
from symphony_ui.parse import nearest

Layout = Component | Tab | Sequence[Component | Tab | Sequence[Component]]
LABELS = ("label", "target", "class", "truth", "y_true")
PREDICTIONS = ("pred", "prediction", "predicted", "predictions", "y_pred")


@dataclass(frozen=True)
class Placed:
    """A component and its id."""

    id: str
    component: Component

    def spec(self) -> dict[str, Any]:
        """The component as the page's spec lists it."""
        return {"id": self.id, "type": self.component.type, "options": self.component.options()}


@dataclass(frozen=True)
class Arranged:
    """Tabs of rows of components, with ids."""

    tabs: tuple[tuple[str, tuple[tuple[Placed, ...], ...]], ...]

    def all(self) -> list[Placed]:
        """Every component."""
        return [placed for _, rows in self.tabs for row in rows for placed in row]

    def spec(self) -> list[dict[str, Any]]:
        """The layout as the page's spec has it."""
        return [
            {"tab": name, "rows": [[placed.spec() for placed in row] for row in rows]}
            for name, rows in self.tabs
        ]

    def modules(self) -> dict[str, str]:
        """The JavaScript modules of the user's own components, by type."""
        found: dict[str, str] = {}
        for placed in self.all():
            text = placed.component.module()
            if text is None and placed.component.type not in BUILT_IN:
                raise FormatError(f"{type(placed.component).__name__} has no module: set its esm")
            if text is not None:
                kind = placed.component.type
                if kind in BUILT_IN or found.setdefault(kind, text) != text:
                    raise FormatError(f"two components are both called {kind!r}: rename a class")
        return found


def arrange(layout: Layout, columns: Sequence[Mapping[str, Any]]) -> Arranged:
    """The layout with ids, checked against the columns there are.

    Args:
        layout: rows of components, or tabs of them; a lone component is a layout too.
        columns: as a page's spec lists them, with ``name`` and ``kind``.

    Raises:
        ColumnError: if a component names a column that is not there, or as media one that is none.
        SymphonyError: if something in the layout is no component.
    """
    lone = isinstance(layout, (Component, Tab))
    tabs: list[Any] = [layout] if lone else _several(layout, "a layout")
    if any(isinstance(item, Tab) for item in tabs):
        if not all(isinstance(item, Tab) for item in tabs):
            raise SymphonyError("a layout holds tabs or rows of components, not both")
    else:
        tabs = [Tab("Page", tabs)]
    kinds = {str(column["name"]): str(column["kind"]) for column in columns}
    counts: dict[str, int] = {}
    made: list[tuple[str, tuple[tuple[Placed, ...], ...]]] = []
    for tab in tabs:
        held = [tab.rows] if isinstance(tab.rows, Component) else _several(tab.rows, "a tab")
        made.append((str(tab.name), tuple(_row(row, counts, kinds) for row in held)))
    titles = [name for name, _ in made]
    if len(set(titles)) != len(titles):
        raise SymphonyError(f"tabs must have different names, got {titles}")
    return Arranged(tuple(made))


def _several(held: Any, what: str) -> list[Any]:
    if isinstance(held, (str, type, Mapping)) or not isinstance(held, Iterable):
        raise SymphonyError(f"{what} holds components, got {held!r}{_hint(held)}")
    return list(held)


def _hint(held: Any) -> str:
    return f": call it, {held.__name__}()" if isinstance(held, type) else ""


def _row(row: Any, counts: dict[str, int], kinds: Mapping[str, str]) -> tuple[Placed, ...]:
    out: list[Placed] = []
    for component in [row] if isinstance(row, Component) else _several(row, "a layout"):
        if not isinstance(component, Component):
            raise SymphonyError(f"a layout holds components, got {component!r}{_hint(component)}")
        kind = component.type
        counts[kind] = counts.get(kind, 0) + 1
        if kind in BUILT_IN:
            for option, name in columns_named(component):
                _known(f"{type(component).__name__}.{option}", option, name, kinds)
        out.append(Placed(f"{kind}-{counts[kind]}", component))
    return tuple(out)


def _known(who: str, option: str, name: Any, kinds: Mapping[str, str]) -> None:
    if not isinstance(name, str) or name not in kinds:
        names = list(kinds)
        near = nearest(str(name), names)
        hint = f"did you mean {near!r}?" if near else f"there are {', '.join(names[:10]) or 'none'}"
        raise ColumnError(f"{who} names {name!r}, which is no column of the page: {hint}")
    if option == "media" and kinds[name] != "media":
        raise ColumnError(
            f"{who} names {name!r}, which holds no media: pass the page media={{{name!r}: Image()}}"
        )


def arranged(raw: Any, custom: Mapping[str, str]) -> Arranged:
    """The layout of a page's spec that nobody vouches for.

    Raises:
        FormatError: if it is none.
    """
    try:
        return Arranged(
            tuple(
                (
                    str(tab["tab"]),
                    tuple(
                        tuple(
                            Placed(
                                str(v["id"]),
                                restored(v["type"], v["options"], custom.get(v["type"])),
                            )
                            for v in row
                        )
                        for row in tab["rows"]
                    ),
                )
                for tab in raw
            )
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise FormatError(f"the page's layout cannot be read: {error!r}") from error


def layers(names: Iterable[str], prefix: str, suffix: str = "") -> list[str]:
    """The layers of columns such as ``projection_<layer>_x``, in order.

    Example:
        >>> layers(["projection_conv1_x", "projection_conv10_x", "x"], "projection_", "_x")
        ['conv1', 'conv10']
    """
    return [
        name[len(prefix) : len(name) - len(suffix)]
        for name in names
        if name.startswith(prefix) and name.endswith(suffix) and len(name) > len(prefix + suffix)
    ]


def auto(columns: Sequence[Mapping[str, Any]]) -> list[Tab]:
    """A layout for columns: what each is decides what shows it.

    ``projection_<layer>_x`` and ``_y`` become a scatter, ``duplicates_<layer>`` and
    ``familiarity_<layer>`` what their names say, a label and a prediction a confusion matrix.

    Args:
        columns: as a page's spec lists them, with ``name`` and ``kind``.
    """
    kinds = {column["name"]: column["kind"] for column in columns}
    numbers = [name for name, kind in kinds.items() if kind == "number"]
    media = next((name for name, kind in kinds.items() if kind == "media"), None)
    label = _named(kinds, LABELS)
    prediction = _named(kinds, PREDICTIONS)
    caption = [name for name in (label, prediction) if name]
    points = [
        Scatter(f"projection_{layer}_x", f"projection_{layer}_y", color=label, media=media)
        for layer in layers(numbers, "projection_", "_x")
        if f"projection_{layer}_y" in numbers
    ]
    rows: list[Sequence[Component]] = [[Summary(), *points[:1]]]
    rows += [points[k : k + 2] for k in range(1, len(points), 2)]
    rows += [[Instances(media=media, caption=caption)]] if media else []
    tabs = [Tab("Data", [*rows, [Table()]])]
    quality: list[Component] = [
        Duplicates(f"duplicates_{layer}", media=media, caption=caption)
        for layer in layers(numbers, "duplicates_")
    ]
    quality += [
        Familiarity(f"familiarity_{layer}", by=label, media=media, caption=caption)
        for layer in layers(numbers, "familiarity_")
    ]
    if quality:
        tabs.append(Tab("Quality", quality))
    if label and prediction and kinds[label] == kinds[prediction]:
        tabs.append(
            Tab("Model", [[ConfusionMatrix(label, prediction), Subgroups(label, prediction)]])
        )
    return tabs


def _named(kinds: Mapping[str, str], wanted: Sequence[str]) -> str | None:
    """The column with one of these names that holds classes."""
    fits = ("category", "number", "bool")
    return next((name for name in wanted if kinds.get(name) in fits), None)
