"""Does a Parquet file name its columns as arro3 can take them? NUL in a name ends the process."""

import base64
import binascii
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from symphony_ui.bounds import check_schema
from symphony_ui.errors import FormatError
from symphony_ui.ipc import Broken

MAGIC = b"PAR1"
NOTHING, BYTE, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = (1, 2), 3, 7, 8, 9, 10, 11, 12
VARINTS = (4, 5, 6)  # Thrift's integers of two, four and eight bytes
SCHEMA, NAME = 2, 4  # fields of the footer, and of one of its schema's elements
ARROW = re.compile(rb"ARROW:schema\x18")  # a key, and that a text follows
DEEPEST = 60


def check_parquet(path: Path) -> None:
    """Refuses a Parquet file with NUL in a name, in its schema or in the Arrow one it may keep.

    Raises:
        FormatError: if it has one, or its footer is broken.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(size - 8, 0))
        length, magic = struct.unpack("<I4s", file.read(8).rjust(8, b"\0"))
        if magic != MAGIC or length > size - 12:
            raise FormatError(f"{path} is no whole Parquet file: its end is missing")
        file.seek(size - 8 - length)
        footer = file.read(length)
    try:
        _check_names(Thrift(footer))
        for found in ARROW.finditer(footer):
            _check_arrow(Thrift(footer, found.end()).text())
    except (Broken, IndexError, struct.error) as error:
        raise FormatError(f"{path} is a broken Parquet file: {error}") from error


def _check_names(footer: "Thrift") -> None:
    """Looks at the names of the schema's elements."""
    for field, kind in footer.fields():
        if field != SCHEMA or kind != LIST:
            footer.skip(kind)
            continue
        count, kind = footer.entries()
        for _ in range(count if kind == STRUCT else 0):
            for part, inner in footer.fields():
                if part != NAME or inner != BINARY:
                    footer.skip(inner)
                elif b"\0" in footer.text():
                    raise Broken("a name holds NUL")
        return  # what follows is long, and names nothing


def _check_arrow(kept: bytes) -> None:
    """Looks at the names of the Arrow schema that a writer kept beside Parquet's."""
    try:
        message = base64.b64decode(kept, validate=True)
    except binascii.Error:
        return  # a reader takes it for none, too
    check_schema(message)


@dataclass
class Thrift:
    """A place in bytes of Thrift's compact protocol.

    Args:
        raw: the bytes.
        at: the place, which moves on.
    """

    raw: bytes
    at: int = 0

    def byte(self) -> int:
        """The next byte."""
        self.at += 1
        return self.raw[self.at - 1]

    def varint(self) -> int:
        """A number of seven bits a byte."""
        number = shift = 0
        while shift < 70:
            byte = self.byte()
            number |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return number
        raise Broken("a number has no end")

    def text(self) -> bytes:
        """Bytes, after how many they are."""
        count = self.varint()
        self.at += count
        if self.at > len(self.raw):
            raise Broken("a text is longer than its file")
        return self.raw[self.at - count : self.at]

    def fields(self) -> Iterator[tuple[int, int]]:
        """Number and kind of each field of a struct; its value must be read before the next."""
        field = 0
        while head := self.byte():
            step = head >> 4
            if step:
                field += step
            else:
                number = self.varint()  # of zigzag
                field = number >> 1 ^ -(number & 1)
            yield field, head & 15

    def entries(self) -> tuple[int, int]:
        """How many entries a list has, and their kind."""
        head = self.byte()
        count = head >> 4
        return (self.varint() if count == 15 else count), head & 15

    def skip(self, kind: int, depth: int = 0, *, within: bool = False) -> None:
        """Goes past a value; one ``within`` a list or a map has a byte even if it is a boolean."""
        if depth > DEEPEST:
            raise Broken("its parts hold others without end")
        if kind in NOTHING or kind == BYTE:
            self.at += kind == BYTE or within
        elif kind in VARINTS:
            self.varint()
        elif kind == DOUBLE:
            self.at += 8
        elif kind == BINARY:
            self.text()
        elif kind in (LIST, SET):
            count, inner = self.entries()
            for _ in range(count):
                self.skip(inner, depth + 1, within=True)
        elif kind == MAP:
            count = self.varint()
            kinds = self.byte() if count else 0
            for _ in range(count):
                self.skip(kinds >> 4, depth + 1, within=True)
                self.skip(kinds & 15, depth + 1, within=True)
        elif kind == STRUCT:
            for _, inner in self.fields():
                self.skip(inner, depth + 1)
        else:
            raise Broken("it has a value of a kind that there is not")
        if self.at > len(self.raw):
            raise Broken("a value is longer than its file")
