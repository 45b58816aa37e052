"""A folder of embeddings that many processes and hosts may fill: files, claims and a journal."""

import hashlib
import io
import json
import os
import secrets
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vpsa_fair.counts import write_atomically
from vpsa_fair.errors import SPOILT

__all__ = ["Memory", "Store", "digest", "read_journal"]

Vectors = NDArray[np.float32]
STALE = 600.0  # seconds without a sign of life, after which a claim of another host is void
BROKEN = (OSError, *SPOILT)
HELD: set[str] = set()  # the marks of the claims of this process


class Seen(NamedTuple):
    """A claim as somebody found it: what it says, and when it gave a sign of life."""

    text: str
    touched: int


def digest(*parts: object) -> str:
    """Name what is decided by some texts and numbers: 40 hex digits.

    Example:
        >>> digest("a", 1) == digest("a", 1), digest("a", 1) == digest("a", 2)
        (True, False)
    """
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:40]


class Memory:
    """Where embeddings are kept if there is no folder."""

    def __init__(self) -> None:
        self.held: dict[str, Vectors] = {}

    def load(self, name: str, count: int) -> Vectors | None:
        """``(count, d)`` embeddings, or None if there are none of that name."""
        return self.held.get(name)

    def has(self, name: str, count: int) -> bool:
        """Whether embeddings of that name are there."""
        return name in self.held

    def save(self, name: str, vectors: Vectors) -> None:
        """Keep embeddings."""
        self.held[name] = vectors

    def settle(self, name: str, vectors: Vectors) -> Vectors:
        """Keep embeddings unless some are kept; return those that are."""
        return self.held.setdefault(name, vectors)

    @contextmanager
    def claim(self, name: str) -> Iterator[bool]:
        """Nobody else is here."""
        yield True

    def alive(self, name: str) -> None:
        """Nobody waits for a sign."""

    def note(self, **entry: object) -> None:
        """Nothing is written down."""


class Store:
    """A folder: ``embeddings/*.npy``, ``claims/*`` and ``journal.jsonl``.

    A file's name is the hash of all that decides its content, and files appear by renaming: what is
    there is whole and never changes. A claim says that somebody works on a file; it is void if its
    process has died on this host, or gave no sign of life for ``stale`` seconds by the clock of the
    file system. Should two work on one file in spite of that, both write the same bytes.

    Args:
        root: the folder; it is made if need be.
        stale: seconds.
    """

    def __init__(self, root: str | os.PathLike[str], *, stale: float = STALE) -> None:
        self.root, self.stale = Path(root), stale
        for folder in ("embeddings", "claims"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)

    @property
    def journal(self) -> Path:
        """The file that events are appended to, one JSON object a line."""
        return self.root / "journal.jsonl"

    def path(self, name: str) -> Path:
        """Where embeddings lie."""
        return self.root / "embeddings" / f"{name}.npy"

    def load(self, name: str, count: int) -> Vectors | None:
        """``(count, d)`` embeddings; None if they are not there, or broken from outside."""
        try:
            with self.path(name).open("rb") as file:
                vectors = np.lib.format.read_array(file, allow_pickle=False)
        except BROKEN:
            return None
        return vectors if _whole(vectors, count) else None

    def has(self, name: str, count: int) -> bool:
        """Whether :meth:`load` would find them, without reading them."""
        try:
            return _whole(np.lib.format.open_memmap(self.path(name), mode="r"), count)
        except BROKEN:
            return False

    def save(self, name: str, vectors: Vectors) -> None:
        """Write embeddings: all of them or nothing."""
        write_atomically(self.path(name), _bytes(vectors))

    def settle(self, name: str, vectors: Vectors) -> Vectors:
        """Write embeddings unless whole ones are there; return those that are, the same for all."""
        path, own = self.path(name), self.path(f"{name}.{secrets.token_hex(8)}")
        if (found := self.load(name, len(vectors))) is not None:
            return found
        write_atomically(own, _bytes(vectors))
        try:
            os.link(own, path)
        except OSError:  # somebody was first, or this file system has no links
            if self.load(name, len(vectors)) is None:
                os.replace(own, path)
        finally:
            own.unlink(missing_ok=True)
        found = self.load(name, len(vectors))
        return vectors if found is None else found

    @contextmanager
    def claim(self, name: str) -> Iterator[bool]:
        """Try to be the one who works on a file; True if so. The claim ends with the block."""
        path, mark = self.root / "claims" / name, secrets.token_hex(8)
        self._void_if_stale(path)
        owner = {"host": socket.gethostname(), "pid": os.getpid(), "space": _space(), "mark": mark}
        made = False
        HELD.add(mark)
        try:
            try:
                handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
            except FileExistsError:
                yield False
                return
            made = True
            with os.fdopen(handle, "w") as file:
                json.dump(owner, file)
            yield True
        finally:
            if made and _owner(_look(path)).get("mark", mark) == mark:  # else another took it over
                path.unlink(missing_ok=True)
            HELD.discard(mark)

    def alive(self, name: str) -> None:
        """Give a sign of life for a claim of ours."""
        with suppress(FileNotFoundError):  # others took us for dead
            os.utime(self.root / "claims" / name)

    def note(self, **entry: object) -> None:
        """Append an event to the journal, in one write, on a line of its own."""
        who = {"time": round(time.time(), 3), "host": socket.gethostname(), "pid": os.getpid()}
        line = json.dumps(entry | who) + "\n"
        handle = os.open(self.journal, os.O_CREAT | os.O_APPEND | os.O_RDWR, 0o644)
        try:
            if os.fstat(handle).st_size:
                os.lseek(handle, -1, os.SEEK_END)
                if os.read(handle, 1) != b"\n":
                    line = "\n" + line  # a kill cut the last one short
            os.write(handle, line.encode())
        finally:
            os.close(handle)

    def _void_if_stale(self, path: Path) -> None:
        """Take a void claim away: one at a time, and each looks again when it is its turn."""
        seen = _look(path)
        if seen is None or not self._is_void(path, seen):
            return
        lock = path.with_name(f".void-{path.name}")
        try:
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            with suppress(FileNotFoundError):
                if self._clock(path.parent) - lock.stat().st_mtime_ns > self.stale * 1e9:
                    lock.unlink()  # a kill came before its maker was done
            return
        try:
            seen = _look(path)
            if seen is not None and self._is_void(path, seen):
                path.unlink(missing_ok=True)
        finally:
            lock.unlink(missing_ok=True)

    def _is_void(self, path: Path, seen: Seen) -> bool:
        owner = _owner(seen)
        if owner.get("host") == socket.gethostname() and owner.get("space") == _space():
            pid = owner.get("pid")
            if pid == os.getpid():
                return owner.get("mark") not in HELD  # of an earlier process of this number
            if isinstance(pid, int) and not _runs(pid):
                return True
        return self._clock(path.parent) - seen.touched > self.stale * 1e9

    def _clock(self, folder: Path) -> int:
        """Now by the clock of the file system, in nanoseconds."""
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".clock-") as clock:
            return os.fstat(clock.fileno()).st_mtime_ns


def _bytes(vectors: Vectors) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(vectors, np.float32), allow_pickle=False)
    return buffer.getvalue()


def _look(path: Path) -> Seen | None:
    """What a claim says; None if there is none."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return Seen(file.read(), os.fstat(file.fileno()).st_mtime_ns)
    except OSError:
        return None


def _owner(seen: Seen | None) -> dict[str, object]:
    """Who made a claim; empty if there is none, or a kill came between making and writing it."""
    try:
        owner = json.loads(seen.text) if seen else {}
    except ValueError:
        return {}
    return owner if isinstance(owner, dict) else {}


def _space() -> str:
    """Where process numbers count: containers of one host name have numbers of their own."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _whole(vectors: NDArray[np.generic], count: int) -> bool:
    return vectors.ndim == 2 and len(vectors) == count and vectors.dtype == np.float32


def _runs(pid: int) -> bool:
    if os.name == "nt":  # there, signal 0 is not a question
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def read_journal(path: str | os.PathLike[str]) -> list[dict[str, object]]:
    """Return the events of a journal; a line that a kill cut short is left out.

    Args:
        path: of ``journal.jsonl``.

    Returns:
        One dictionary an event.
    """
    events: list[dict[str, object]] = []
    for line in Path(path).read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict):
            events.append(event)
    return events


def group_digest(keys: Sequence[bytes]) -> str:
    """The hash of many hashes, in order."""
    return hashlib.sha256(b"".join(keys)).hexdigest()
