"""Do the buffers of an Arrow batch reach as far as its gaps? arro3 ends the process where not."""

from dataclasses import dataclass, field

from symphony_ui.ipc import BOOL, Broken, Cursor

# Kinds of types, of the flatbuffer's union, by what stands in a batch for a column of each.
NULL, STRUCT, UNION, LIST_OF, RUNS = 1, 13, 14, 16, 22  # LIST_OF: of a fixed size
THREE = (4, 5, 19, 20, 25, 26)  # binary, text, large ones, views of lists
VIEWS = (23, 24)
DEEPEST = 60  # columns within columns


@dataclass(frozen=True)
class Part:
    """What a batch has for one column, or a column within one.

    Attributes:
        buffers: how many; the first marks the gaps.
        gaps: whether there is such a first one.
        bits: whether the second is of bits, one a row.
        views: whether more buffers follow, as many as the batch says.
    """

    buffers: int
    gaps: bool = True
    bits: bool = False
    views: bool = False


@dataclass
class Parts:
    """The parts of a stream's batches, in their order; None where nobody can say.

    Attributes:
        rows: those of a batch of rows.
        dictionaries: those of each dictionary's, by its number.
    """

    rows: list[Part] | None = None
    dictionaries: dict[int, list[Part] | None] = field(default_factory=dict)

    def learn(self, schema: Cursor) -> None:
        """Take over what a schema says."""
        self.rows = []
        for at in schema.vector(1, 4):
            found = self._of(schema.follow(at), 0)
            self.rows = None if found is None or self.rows is None else [*self.rows, *found]

    def _of(self, held: Cursor, depth: int) -> list[Part] | None:
        """The parts of a field and of those in it."""
        if depth > DEEPEST:
            raise Broken("its columns hold others without end")
        kind = held.scalar(2, "B")
        found: list[Part] | None = [_part(kind)]
        for at in held.vector(5, 4):
            inner = self._of(held.follow(at), depth + 1)
            found = None if inner is None or found is None else [*found, *inner]
        if kind == UNION:  # whose first buffer marks gaps in some versions and not in others
            found = None
        if held.place(4) is None:
            return found
        self.dictionaries[held.table(4).scalar(0, "q")] = found
        return [Part(2)]  # the codes


def _part(kind: int) -> Part:
    if kind in (NULL, RUNS):
        return Part(0, gaps=False)
    if kind in (STRUCT, LIST_OF):
        return Part(1)
    return Part(3 if kind in THREE else 2, bits=kind == BOOL, views=kind in VIEWS)


def check_gaps(batch: Cursor, parts: list[Part] | None, lengths: list[int]) -> None:
    """Looks whether marks of gaps, and bits, are there for every row.

    Args:
        batch: its header.
        parts: of the schema, or None: then nothing is known.
        lengths: of its buffers, unpacked, in bytes.

    Raises:
        Broken: if some are not.
    """
    if parts is None:
        return
    nodes, views = batch.vector(1, 16), iter(batch.vector(4, 8))
    if len(nodes) < len(parts):
        raise Broken("a batch has fewer columns than its schema")
    at = 0
    for part, node in zip(parts, nodes, strict=False):
        rows, gaps = batch.number("q", node), batch.number("q", node + 8)
        more = 0
        if part.views:
            place = next(views, None)
            more = -1 if place is None else batch.number("q", place)
        if more < 0 or at + part.buffers + more > len(lengths):
            raise Broken("a batch has fewer buffers than its columns")
        if part.gaps and gaps and 8 * lengths[at] < rows:
            raise Broken("a buffer is too short for the gaps of its column")
        if part.bits and 8 * lengths[at + 1] < rows:
            raise Broken("a buffer is too short for its rows")
        at += part.buffers + more
