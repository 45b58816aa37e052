"""Is an Arrow stream as a page holds it? arro3 ends the process on some that are broken."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from symphony_ui.errors import FormatError

SCHEMA, DICTIONARY, BATCH = 1, 2, 3  # kinds of messages
INT, FLOAT, BINARY, UTF8, BOOL, TIMESTAMP = 2, 3, 4, 5, 6, 10  # kinds of types
FLOATS = {1: 32, 2: 64}  # Arrow's precisions that a page holds


class Broken(Exception):
    """What is wrong with a stream."""


@dataclass(frozen=True)
class Cursor:
    """A table of a flatbuffer: where its fields are, or that it has none of them."""

    raw: memoryview
    at: int

    def number(self, form: str, at: int) -> int:
        """The number of struct's ``form`` at a place, which must be one of the message."""
        if at < 0:
            raise Broken("it points before its beginning")
        return int(struct.unpack_from(f"<{form}", self.raw, at)[0])

    def place(self, slot: int) -> int | None:
        """Where a field is."""
        table = self.at - self.number("i", self.at)
        if 4 + 2 * slot >= self.number("H", table):
            return None
        step = self.number("H", table + 4 + 2 * slot)
        return self.at + step if step else None

    def scalar(self, slot: int, form: str) -> int:
        """A field that is a number; 0 where it is left out."""
        at = self.place(slot)
        return 0 if at is None else self.number(form, at)

    def follow(self, at: int) -> "Cursor":
        """What stands where an offset leads."""
        return Cursor(self.raw, at + self.number("I", at))

    def table(self, slot: int) -> "Cursor":
        """A field that is a table."""
        at = self.place(slot)
        if at is None:
            raise Broken("a part of it is missing")
        return self.follow(at)

    def vector(self, slot: int, size: int) -> list[int]:
        """The places of a vector's entries of ``size`` bytes; none where it is left out."""
        at = self.place(slot)
        if at is None:
            return []
        start = self.follow(at).at
        count = self.number("I", start)
        if start + 4 + count * size > len(self.raw):
            raise Broken("a list of it is longer than it is")
        return [start + 4 + k * size for k in range(count)]

    def text(self, slot: int) -> bytes:
        """A field that is text."""
        at = self.vector(slot, 1)
        return bytes(self.raw[at[0] : at[-1] + 1]) if at else b""


def check_stream(stream: bytes, what: str) -> None:
    """Refuses what is no stream of the columns that a page holds, before Arrow sees it.

    Every type, every length and every place of a buffer is looked at, and no value.

    Raises:
        FormatError: if it is none.
    """
    try:
        _check(stream)
    except (Broken, struct.error, OverflowError) as error:
        raise FormatError(f"{what} is no Arrow stream of a page: {error}") from error


def _check(stream: bytes) -> None:
    fields: list[list[int]] | None = None
    waiting: set[int] = set()  # dictionaries that have not come yet
    for kind, header, body in _messages(stream):
        if kind == SCHEMA and fields is None:
            fields, waiting = _schema(header)
        elif kind == DICTIONARY and header.scalar(0, "q") in waiting:
            if header.scalar(2, "B"):
                raise Broken("a dictionary comes in parts")
            _batch(header.table(1), [[1, 32, 8]], body)
            waiting.discard(header.scalar(0, "q"))
        elif kind == BATCH and fields is not None and not waiting:
            _batch(header, fields, body)
        else:
            raise Broken("its messages are not those of a page, or not in order")
    if fields is None:
        raise Broken("it has no schema")


def _messages(stream: bytes) -> Iterator[tuple[int, Cursor, int]]:
    """Each message's kind and header, and the length of its body."""
    raw, at = memoryview(stream), 0
    while at < len(raw):
        mark, length = struct.unpack_from("<Ii", raw, at)
        if mark != 0xFFFFFFFF:
            raise Broken("it has no message where one should be")
        if length == 0:
            return
        if length < 8 or length % 8 or at + 8 + length > len(raw):
            raise Broken("a message is longer than what is left of it")
        head = raw[at + 8 : at + 8 + length]
        message = Cursor(head, 0).follow(0)
        body = message.scalar(3, "q")
        at += 8 + length + body
        if body < 0 or body % 8 or at > len(raw):
            raise Broken("a body is longer than what is left of it")
        yield message.scalar(1, "B"), message.table(2), body


def _schema(schema: Cursor) -> tuple[list[list[int]], set[int]]:
    """For each field the bits an entry takes in each of its buffers; the dictionaries' numbers."""
    fields: list[list[int]] = []
    dictionaries: set[int] = set()
    if schema.scalar(0, "h") or schema.place(2) is not None:
        raise Broken("its schema has what no page's has")
    for at in schema.vector(1, 4):
        field = schema.follow(at)
        if b"\0" in field.text(0) or field.vector(5, 4) or field.place(6) is not None:
            raise Broken("a column has what no page's has")
        bits = _bits(field)
        if field.place(4) is not None:
            coded = field.table(4)
            if bits != [1, 32, 8] or coded.place(3) is not None or coded.scalar(2, "B"):
                raise Broken("a dictionary holds no texts")
            if coded.place(1) is not None and _integer(coded.table(1)) != 32:
                raise Broken("the codes of a dictionary are not those of a page")
            if coded.scalar(0, "q") in dictionaries:
                raise Broken("two columns have one dictionary")
            dictionaries.add(coded.scalar(0, "q"))
            bits = [1, 32]
        fields.append(bits)
    return fields, dictionaries


def _integer(kind: Cursor) -> int:
    return kind.scalar(0, "i") if kind.scalar(1, "B") else 0


def _bits(field: Cursor) -> list[int]:
    """The bits an entry takes in each buffer: the gaps, then values, or offsets and text."""
    kind, held = field.scalar(2, "B"), field.table(3)
    if kind in (UTF8, BINARY):
        return [1, 32, 8]
    if kind == BOOL:
        return [1, 1]
    if kind == INT and _integer(held) == 32:
        return [1, 32]
    if kind == FLOAT and held.scalar(0, "h") in FLOATS:
        return [1, FLOATS[held.scalar(0, "h")]]
    if kind == TIMESTAMP and held.scalar(0, "h") == 1 and held.text(1) == b"UTC":
        return [1, 64]
    raise Broken("a column is of a type that no page holds")


def _batch(batch: Cursor, fields: list[list[int]], body: int) -> None:
    """Looks at the lengths of a batch's columns and at the places of their buffers."""
    rows, nodes, buffers = batch.scalar(0, "q"), batch.vector(1, 16), batch.vector(2, 16)
    if rows < 0 or len(nodes) != len(fields) or len(buffers) != sum(map(len, fields)):
        raise Broken("a batch has other columns than its schema")
    if batch.place(3) is not None or batch.place(4) is not None:
        raise Broken("a batch is packed")
    places = iter(buffers)
    for node, bits in zip(nodes, fields, strict=True):
        gaps = batch.number("q", node + 8)
        if batch.number("q", node) != rows or not 0 <= gaps <= rows:
            raise Broken("a column has another length than its batch")
        for k, width in enumerate(bits):
            at = next(places)
            start, length = batch.number("q", at), batch.number("q", at + 8)
            if start < 0 or start % 8 or not 0 <= length <= body - start:
                raise Broken("a buffer lies outside its body")
            if length * 8 % max(width, 8):
                raise Broken("a buffer ends within an entry")
            text = len(bits) == 3
            entries = 0 if text and k == 2 else rows + (text and k == 1)
            if length * 8 < entries * width and (k or gaps) and not (text and not rows):
                raise Broken("a buffer is too short for its rows")
