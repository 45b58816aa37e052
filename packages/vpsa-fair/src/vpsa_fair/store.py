"""A folder of embeddings that many processes and hosts may fill: files, claims and a journal."""

import hashlib
import io
import json
import os
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vpsa_fair.counts import write_atomically
from vpsa_fair.errors import SPOILT

__all__ = ["Memory", "Store", "digest", "read_journal"]

Vectors = NDArray[np.float32]
STALE = 600.0  # seconds without a sign of life, after which a claim of another host is void


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
            vectors = np.load(self.path(name), allow_pickle=False)
        except (OSError, *SPOILT):
            return None
        return vectors if _whole(vectors, count) else None

    def has(self, name: str, count: int) -> bool:
        """Whether :meth:`load` would find them, without reading them."""
        try:
            return _whole(np.load(self.path(name), mmap_mode="r", allow_pickle=False), count)
        except (OSError, *SPOILT):
            return False

    def save(self, name: str, vectors: Vectors) -> None:
        """Write embeddings: all of them or nothing."""
        buffer = io.BytesIO()
        np.save(buffer, np.ascontiguousarray(vectors, np.float32), allow_pickle=False)
        write_atomically(self.path(name), buffer.getvalue())

    @contextmanager
    def claim(self, name: str) -> Iterator[bool]:
        """Try to be the one who works on a file; True if so. The claim ends with the block."""
        path = self.root / "claims" / name
        self._void_if_stale(path)
        try:
            handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            yield False
            return
        with os.fdopen(handle, "w") as file:
            json.dump({"host": socket.gethostname(), "pid": os.getpid()}, file)
        try:
            yield True
        finally:
            path.unlink(missing_ok=True)

    def alive(self, name: str) -> None:
        """Give a sign of life for a claim of ours."""
        if (path := self.root / "claims" / name).exists():
            os.utime(path)

    def note(self, **entry: object) -> None:
        """Append an event to the journal, in one write."""
        who = {"time": round(time.time(), 3), "host": socket.gethostname(), "pid": os.getpid()}
        line = json.dumps(entry | who) + "\n"
        handle = os.open(self.journal, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o644)
        try:
            os.write(handle, line.encode())
        finally:
            os.close(handle)

    def _void_if_stale(self, path: Path) -> None:
        if not self._is_void(path):
            return
        lock = path.with_name(f".void-{path.name}")  # of many who see it, one at a time
        try:
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            if self._age(lock) > self.stale:  # its maker was killed here
                lock.unlink(missing_ok=True)
            return
        try:
            if self._is_void(path):  # another may have taken it over meanwhile
                path.unlink(missing_ok=True)
        finally:
            lock.unlink(missing_ok=True)

    def _is_void(self, path: Path) -> bool:
        try:
            owner = json.loads(path.read_text() or "{}")
            age = self._age(path)
        except (OSError, ValueError):
            return False
        here = owner.get("host") == socket.gethostname()
        return age > self.stale or (here and not _runs(int(owner["pid"])))

    def _age(self, path: Path) -> float:
        """Seconds since a file was touched, by the clock of the file system; 0 if it is gone."""
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".clock-") as clock:
            try:
                return os.fstat(clock.fileno()).st_mtime - path.stat().st_mtime
            except FileNotFoundError:
                return 0.0


def _whole(vectors: object, count: int) -> bool:
    if not isinstance(vectors, np.ndarray):  # an archive of several
        return False
    return vectors.ndim == 2 and len(vectors) == count and vectors.dtype == np.float32


def _runs(pid: int) -> bool:
    if pid == os.getpid() or os.name == "nt":  # there, signal 0 is not a question
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
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
