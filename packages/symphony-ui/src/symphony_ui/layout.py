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

Layout = Sequence[Component | Tab | Sequence[Component]]
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


def arrange(layout: Layout, names: Sequence[str]) -> Arranged:
    """The layout with ids, checked against the columns there are.

    Raises:
        ColumnError: if a component names a column that is not there.
        SymphonyError: if something in the layout is no component.
    """
    tabs = list(layout)
    if any(isinstance(item, Tab) for item in tabs):
        if not all(isinstance(item, Tab) for item in tabs):
            raise SymphonyError("a layout holds tabs or rows of components, not both")
    else:
        tabs = [Tab("Page", tabs)]  # type: ignore[list-item]
    counts: dict[str, int] = {}
    made = []
    for tab in tabs:
        rows = [_row(row, counts, names) for row in tab.rows]  # type: ignore[union-attr]
        made.append((tab.name, tuple(rows)))  # type: ignore[union-attr]
    titles = [name for name, _ in made]
    if len(set(titles)) != len(titles):
        raise SymphonyError(f"tabs must have different names, got {titles}")
    return Arranged(tuple(made))


def _row(row: Any, counts: dict[str, int], names: Sequence[str]) -> tuple[Placed, ...]:
    out = []
    for component in [row] if isinstance(row, (Component, type)) else row:
        if not isinstance(component, Component):
            hint = f": call it, {component.__name__}()" if isinstance(component, type) else ""
            raise SymphonyError(f"a layout holds components, got {component!r}{hint}")
        kind = component.type
        counts[kind] = counts.get(kind, 0) + 1
        if kind in BUILT_IN:
            for option, name in columns_named(component):
                _known(f"{type(component).__name__}.{option}", name, names)
        out.append(Placed(f"{kind}-{counts[kind]}", component))
    return tuple(out)


def _known(who: str, name: Any, names: Sequence[str]) -> None:
    if name not in names:
        near = nearest(str(name), names)
        hint = f"did you mean {near!r}?" if near else f"there are {', '.join(names[:10]) or 'none'}"
        raise ColumnError(f"{who} names {name!r}, which is no column of the page: {hint}")


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
    media = next((name for name, kind in kinds.items() if kind == "media"), None)
    label = _named(kinds, LABELS)
    prediction = _named(kinds, PREDICTIONS)
    caption = [name for name in (label, prediction) if name]
    top: list[Component] = [Summary()]
    for layer in layers(kinds, "projection_", "_x")[:1]:
        if f"projection_{layer}_y" in kinds:
            points = f"projection_{layer}_x", f"projection_{layer}_y"
            top.append(Scatter(*points, color=label, media=media))
    below = [Instances(media=media, caption=caption)] if media else []
    tabs = [Tab("Data", [top, below, [Table()]] if below else [top, [Table()]])]
    quality = [
        Duplicates(f"duplicates_{layer}", media=media, caption=caption)
        for layer in layers(kinds, "duplicates_")
    ] + [
        Familiarity(f"familiarity_{layer}", by=label, media=media, caption=caption)
        for layer in layers(kinds, "familiarity_")
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
