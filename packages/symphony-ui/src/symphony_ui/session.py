"""The state of one page and its annotations, and everyone who wants to hear of a change."""

import secrets
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, replace
from functools import partial
from typing import Any

from symphony_ui.columns import clean
from symphony_ui.errors import FormatError
from symphony_ui.state import State

KEYS = tuple(f.name for f in fields(State))
LONGEST_NOTE = 20_000
Message = dict[str, Any]
Notes = dict[int, tuple[str, str]]


class Session:
    """One state, changed from Python or from any view; each change is told once, in order.

    A view hears of changes by ``listen``; what it sent itself comes back with its own origin, by
    which it knows it.
    """

    def __init__(self, state: State, check: Callable[[State], None], rows: int) -> None:
        self.state = state
        self.notes: Notes = {}
        self.rows = rows
        self._check = check
        self._lock = threading.RLock()
        self._seen: dict[str, int] = {}
        self._own = f"python-{secrets.token_hex(4)}"
        self._seq = 0
        self._views: list[Callable[[str, Message], None]] = []
        self._callbacks: list[tuple[Callable[[], None], frozenset[str]]] = []

    def listen(self, view: Callable[[str, Message], None]) -> Callable[[], None]:
        """Calls ``view`` with "state" or "annotations" and the message; the answer ends it."""
        return _added(self._views, view)

    def on_change(
        self, callback: Callable[[], None], keys: Iterable[str] | None
    ) -> Callable[[], None]:
        """Calls back after changes of some keys; the answer ends it."""
        wanted = frozenset((*KEYS, "annotations") if keys is None else keys)
        unknown = wanted - set(KEYS) - {"annotations"}
        if unknown:
            raise FormatError(
                f"keys must be among {', '.join(KEYS)}, annotations; got {sorted(unknown)}"
            )
        return _added(self._callbacks, (callback, wanted))

    def message(self) -> Message:
        """The state as it is sent to a view that has none yet."""
        return {"state": self.state.to_json(), "origin": "server", "seq": 0}

    def change(self, **changes: Any) -> None:
        """Changes some keys of the state, from Python."""
        with self._lock:  # from reading the state to writing it: no other change is undone
            self.put(replace(self.state, **changes))

    def put(self, state: State) -> None:
        """Replaces the state, from Python."""
        with self._lock:
            self._check(state)
            self._seq += 1
            self._apply(state, self._own, self._seq)

    def receive(self, message: Any) -> None:
        """A change that a view sent.

        Raises:
            FormatError: if it is no state message, or its state does not fit the page.
        """
        if not isinstance(message, Mapping):
            raise FormatError("a state message is an object")
        origin, seq = message.get("origin"), message.get("seq")
        if not isinstance(origin, str) or not 0 < len(origin) <= 64:
            raise FormatError("a state message has an origin")
        if isinstance(seq, bool) or not isinstance(seq, int):
            raise FormatError("a state message has a number")
        state = State.from_json(message.get("state"))
        self._check(state)
        with self._lock:
            if origin in (self._own, "server") or seq <= self._seen.get(origin, -1):
                return
            if len(self._seen) > 10_000:
                self._seen.clear()
            self._seen[origin] = seq
            self._apply(state, origin, seq)

    def _apply(self, state: State, origin: str, seq: int) -> None:
        changed = {key for key in KEYS if getattr(state, key) != getattr(self.state, key)}
        if not changed:
            return
        self.state = state
        self._tell("state", {"state": state.to_json(), "origin": origin, "seq": seq}, changed)

    def annotate(self, changed: Any) -> None:
        """Annotations of some rows, the last writer's word; empty label and note remove a row's.

        Raises:
            FormatError: if they are none.
        """
        found = read_annotations(changed, self.rows)
        with self._lock:
            for row, (label, note) in found.items():
                if label or note:
                    self.notes[row] = (label, note)
                else:
                    self.notes.pop(row, None)
            if found:
                self._tell("annotations", written(found), {"annotations"})

    def _tell(self, kind: str, message: Message, changed: set[str]) -> None:
        """Tells everyone; what some of them raise is raised when all have heard."""
        calls = [partial(view, kind, message) for view in self._views]
        calls += [callback for callback, keys in self._callbacks if keys & changed]
        errors: list[Exception] = []
        for call in calls:
            try:
                call()
            except Exception as error:
                errors.append(error)
        if len(errors) > 1:
            raise ExceptionGroup(f"{len(errors)} of those who heard of a change failed", errors)
        if errors:
            raise errors[0]


def _added(where: list[Any], item: Any) -> Callable[[], None]:
    where.append(item)

    def end() -> None:
        if item in where:
            where.remove(item)

    return end


def read_annotations(raw: Any, rows: int) -> Notes:
    """Annotations by row, of an object of three lists.

    Raises:
        FormatError: if it is none, or a row is not in the table.
    """
    keys = ("row", "label", "note")
    lists: list[Any] = [raw.get(k) if isinstance(raw, Mapping) else None for k in keys]
    if not all(isinstance(part, list) for part in lists) or len({len(part) for part in lists}) != 1:
        raise FormatError("annotations are an object of three lists: row, label and note")
    out: Notes = {}
    for row, label, note in zip(*lists, strict=True):
        if isinstance(row, bool) or not isinstance(row, int) or not 0 <= row < rows:
            raise FormatError(f"annotations name rows from 0 to {rows - 1}, got {str(row)[:40]}")
        if not isinstance(label, str) or not isinstance(note, str):
            raise FormatError("labels and notes are texts")
        if len(label) + len(note) > LONGEST_NOTE:
            raise FormatError(f"a label and its note have at most {LONGEST_NOTE} characters")
        out[row] = (clean(label), clean(note))
    return out


def written(notes: Notes) -> dict[str, list[Any]]:
    """Annotations as they travel, by row."""
    order = sorted(notes)
    return {
        "row": order,
        "label": [notes[row][0] for row in order],
        "note": [notes[row][1] for row in order],
    }
