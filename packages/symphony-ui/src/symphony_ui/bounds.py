"""Does an Arrow file hold what it says?

arro3 makes room first, and ends the process where there is none; and where a name holds NUL.
"""

import struct
from collections.abc import Callable
from pathlib import Path

from symphony_ui.errors import FormatError
from symphony_ui.gaps import Parts, check_gaps
from symphony_ui.ipc import BATCH, DICTIONARY, SCHEMA, TIMESTAMP, Broken, Cursor

Read = Callable[[int, int], bytes]  # of a place and a length
MAGIC = b"ARROW1"
DEEPEST = 60  # columns within columns
EMPTY = 1_000_000  # rows that may be there without a byte
MOST = (255, 2**15)  # bytes that LZ4 and Zstandard can make of one


def check_arrow(path: Path) -> bool:
    """Whether a path is an Arrow file; else it is a stream. Neither is larger inside than outside.

    Raises:
        FormatError: if it is broken.
    """
    size = path.stat().st_size
    with path.open("rb") as file:

        def read(at: int, count: int) -> bytes:
            if at < 0 or count < 0 or at + count > size:
                raise Broken("it points beyond its end")
            file.seek(at)
            return file.read(count)

        try:
            if size > 18 and read(0, 6) == MAGIC == read(size - 6, 6):
                _check_blocks(read, size)
                return True
            _check_messages(read, size)
        except (Broken, struct.error, OverflowError) as error:
            raise FormatError(f"{path} is a broken Arrow file: {error}") from error
    return False


def check_schema(message: bytes) -> None:
    """Looks at the names in a message that stands alone.

    Raises:
        Broken: if one holds NUL, or it is no message.
    """

    def read(at: int, count: int) -> bytes:
        if at < 0 or count < 0 or at + count > len(message):
            raise Broken("it points beyond its end")
        return message[at : at + count]

    _message(read, 0, Parts())


def _check_blocks(read: Read, size: int) -> None:
    """Looks at the messages that the end of a file lists."""
    (length,) = struct.unpack("<i", read(size - 10, 4))
    footer = Cursor(memoryview(read(size - 10 - length, length)), 0).follow(0)
    parts = Parts()
    _check_names(footer.table(1), 1)
    parts.learn(footer.table(1))
    for slot in (2, 3):  # dictionaries, batches
        for at in footer.vector(slot, 24):
            start, length, _, body = struct.unpack_from("<qiiq", footer.raw, at)
            read(start, length)
            if _message(read, start, parts)[1:] != (start + length, body):
                raise Broken("its end says something else of a message than the message")


def _check_messages(read: Read, size: int) -> None:
    """Looks at the messages of a stream, one after the other."""
    at, parts = 0, Parts()
    while at < size:
        length, end, body = _message(read, at, parts)
        if not length:
            return
        at = end + body


def _message(read: Read, at: int, parts: Parts) -> tuple[int, int, int]:
    """The length of a message's header, where its body begins, and the length of that.

    ``parts`` are those of the schema that came before, and learn from one.
    """
    (length,) = struct.unpack("<i", read(at, 4))
    at += 4
    if length == -1:  # a mark that streams of old do not have
        (length,) = struct.unpack("<i", read(at, 4))
        at += 4
    if not length:
        return 0, at, 0
    message = Cursor(memoryview(read(at, length)), 0).follow(0)
    kind, body = message.scalar(1, "B"), message.scalar(3, "q")
    read(at + length + body, 0)
    if body < 0:
        raise Broken("a body has less than no bytes")
    if kind == SCHEMA:
        _check_names(message.table(2), 1)
        parts.learn(message.table(2))
    elif kind in (DICTIONARY, BATCH):
        header = message.table(2)
        batch = header.table(1) if kind == DICTIONARY else header
        lengths = _lengths(read, batch, at + length, body)
        most = 8 * sum(lengths) + EMPTY
        counts = [(batch.scalar(0, "q"), 0)]  # of its rows, and of gaps
        counts += [struct.unpack_from("<qq", batch.raw, node) for node in batch.vector(1, 16)]
        if not all(0 <= gaps <= rows <= most for rows, gaps in counts):
            raise Broken("it has more rows than it holds")
        known = parts.dictionaries.get(header.scalar(0, "q")) if kind == DICTIONARY else parts.rows
        check_gaps(batch, known, lengths)
    return length, at + length, body


def _check_names(held: Cursor, slot: int, depth: int = 0) -> None:
    """Looks at the names of a schema's fields, and of theirs."""
    if depth > DEEPEST:
        raise Broken("its columns hold others without end")
    for at in held.vector(slot, 4):
        field = held.follow(at)
        zone = field.table(3).text(1) if field.scalar(2, "B") == TIMESTAMP else b""
        if b"\0" in field.text(0) + zone:
            raise Broken("a name holds NUL")
        _check_names(field, 5, depth + 1)


def _lengths(read: Read, batch: Cursor, start: int, body: int) -> list[int]:
    """How many bytes each buffer of a batch holds, unpacked."""
    codec = batch.table(3).scalar(0, "b") if batch.place(3) is not None else None
    if codec is not None and codec not in range(len(MOST)):
        raise Broken("it is packed by what nobody knows")
    lengths: list[int] = []
    for place in batch.vector(2, 16):
        at, length = struct.unpack_from("<qq", batch.raw, place)
        if at < 0 or not 0 <= length <= body - at:
            raise Broken("a buffer lies outside its body")
        if length and codec is not None:
            (unpacked,) = struct.unpack("<q", read(start + at, 8))
            if not -1 <= unpacked <= MOST[codec] * length:
                raise Broken("a buffer says that it holds more than it can")
            length = unpacked if unpacked >= 0 else length - 8
        lengths.append(length)
    return lengths
