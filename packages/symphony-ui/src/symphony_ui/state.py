"""The one state of a page: what is filtered, brushed, grouped, selected, sorted and open."""

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from symphony_ui.errors import FilterError, FormatError
from symphony_ui.filter import Filter, Tree
from symphony_ui.rows import decode_rows

VERSION = 1
FRAGMENT_LIMIT = 16384
INFLATED_LIMIT = 32 * 1024 * 1024
Way = Literal["asc", "desc"]


@dataclass(frozen=True)
class State:
    """The state of a page, the same in every host.

    ``selection`` is text (``encode_rows``); ``selected`` is the row numbers. ``brushes`` holds a
    filter for each view that brushes.

    Example:
        >>> state = State(group_by=("label",))
        >>> State.from_fragment(state.to_fragment()) == state
        True
    """

    filter: Filter | None = None
    brushes: Mapping[str, Filter] = field(default_factory=dict)
    group_by: tuple[str, ...] = ()
    selection: str = ""
    sort: tuple[tuple[str, Way], ...] = ()
    tab: str | None = None
    views: Mapping[str, Any] = field(default_factory=dict)
    show_unfiltered: bool = False

    @property
    def selected(self) -> NDArray[np.int64]:
        """The selected row numbers, sorted."""
        return decode_rows(self.selection)

    def predicates(self, view: str | None = None) -> list[Tree]:
        """What a row must pass to be visible, or to be in the context of a view."""
        trees = [brush.tree for key, brush in sorted(self.brushes.items()) if key != view]
        return [self.filter.tree, *trees] if self.filter is not None else trees

    def to_json(self) -> dict[str, Any]:
        """The state as JSON holds it."""
        return {
            "v": VERSION,
            "filter": self.filter.tree if self.filter is not None else None,
            "brushes": {key: brush.tree for key, brush in self.brushes.items()},
            "group_by": list(self.group_by),
            "selection": {"rows": self.selection},
            "sort": [list(pair) for pair in self.sort],
            "tab": self.tab,
            "views": dict(self.views),
            "show_unfiltered": self.show_unfiltered,
        }

    @classmethod
    def from_json(cls, raw: Any) -> "State":
        """The state of a JSON object that nobody vouches for; what is absent has its default.

        Raises:
            FormatError: if it is no state, or one of another version.
        """
        if not isinstance(raw, Mapping):
            raise FormatError(f"a state is an object, got {type(raw).__name__}")
        if raw.get("v") != VERSION or isinstance(raw["v"], bool):
            raise FormatError(f"this reads version 1 of the state, got version {raw.get('v')!r}")
        try:
            return cls(
                filter=_filter(raw.get("filter")),
                brushes={_text(k): Filter(t) for k, t in _object(raw.get("brushes", {})).items()},
                group_by=tuple(map(_text, _list(raw.get("group_by", [])))),
                selection=_rows(raw.get("selection", {})),
                sort=tuple(map(_order, _list(raw.get("sort", [])))),
                tab=None if raw.get("tab") is None else _text(raw["tab"]),
                views=_object(raw.get("views", {})),
                show_unfiltered=bool(raw.get("show_unfiltered", False)),
            )
        except FilterError as error:
            raise FormatError(f"the state holds no good filter: {error}") from error

    def to_fragment(self) -> str:
        """The state for a page's address: ``s=`` and base64url of deflated JSON.

        What is longer than 16 kB loses its selection; what still is becomes empty.
        """
        full = _pack(self)
        if len(full) <= FRAGMENT_LIMIT:
            return full
        brushes = {k: b for k, b in self.brushes.items() if not _holds_rows(b.tree)}
        less = _pack(replace(self, selection="", brushes=brushes))
        return less if len(less) <= FRAGMENT_LIMIT else ""

    @classmethod
    def from_fragment(cls, fragment: str) -> "State | None":
        """The state of an address, or None where it holds none.

        Raises:
            FormatError: if it holds one that cannot be read.
        """
        parts = fragment.lstrip("#").split("&")
        packed = next((part[2:] for part in parts if part.startswith("s=")), None)
        if packed is None:
            return None
        if len(packed) > FRAGMENT_LIMIT:
            raise FormatError("the address holds more than 16 kB of state")
        try:
            raw = base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4))
            text = zlib.decompressobj(-15).decompress(raw, INFLATED_LIMIT)
            return cls.from_json(json.loads(text))
        except (ValueError, RecursionError, zlib.error) as error:
            if isinstance(error, FormatError):
                raise
            raise FormatError(f"the address holds no state: {str(error)[:200]}") from error


def _pack(state: State) -> str:
    text = json.dumps(state.to_json(), separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    raw = packer.compress(text.encode()) + packer.flush()
    return "s=" + base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _holds_rows(tree: Tree) -> bool:
    if tree[0] in ("and", "or", "not"):
        return any(map(_holds_rows, tree[1:]))
    return tree[0] == "rows"


def _filter(raw: Any) -> Filter | None:
    return None if raw is None else Filter(raw)


def _text(raw: Any) -> str:
    if not isinstance(raw, str):
        raise FormatError(f"the state needs text, got {str(raw)[:60]}")
    return raw


def _list(raw: Any) -> list[Any]:
    if not isinstance(raw, list):
        raise FormatError(f"the state needs a list, got {str(raw)[:60]}")
    return raw


def _object(raw: Any) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise FormatError(f"the state needs an object, got {str(raw)[:60]}")
    return raw


def _rows(raw: Any) -> str:
    rows = _text(_object(raw).get("rows", ""))
    decode_rows(rows)
    return rows


def _order(raw: Any) -> tuple[str, Way]:
    if len(_list(raw)) != 2 or raw[1] not in ("asc", "desc"):
        raise FormatError(f"the state sorts by pairs of a column and asc or desc, got {raw}")
    return (_text(raw[0]), raw[1])
