"""Sets of row numbers as text: sorted, the differences as varints, in base64."""

import base64
import binascii

import numpy as np
from numpy.typing import ArrayLike, NDArray

from symphony_ui.errors import FormatError

LARGEST = 2**53  # JavaScript holds every integer up to here


def encode_rows(rows: ArrayLike) -> str:
    """The text of a set of row numbers.

    Example:
        >>> encode_rows([300, 2, 2])
        'AqoC'
    """
    unique = np.asarray(rows, dtype=np.int64)
    if not (unique[1:] > unique[:-1]).all():  # sorting a million takes longer than all the rest
        unique = np.unique(unique)
    if len(unique) and unique[0] < 0:
        raise FormatError(f"row numbers must not be negative, got {unique[0]}")
    deltas = np.diff(unique, prepend=0).astype(np.uint64)  # the first one stays as it is
    places = (int(deltas.max(initial=0)).bit_length() + 6) // 7
    width = np.ones(len(deltas), dtype=np.int64)
    for place in range(1, places):
        width += deltas >= np.uint64(1) << np.uint64(7 * place)
    ends = np.cumsum(width)
    out = np.zeros(int(ends[-1]) if len(ends) else 0, dtype=np.uint8)
    starts = ends - width
    for place in range(int(width.max(initial=0))):
        here = width > place
        part = (deltas[here] >> np.uint64(7 * place)) & np.uint64(127)
        more = np.where(width[here] > place + 1, 128, 0)
        out[starts[here] + place] = part.astype(np.uint8) | more.astype(np.uint8)
    return base64.b64encode(out.tobytes()).decode()


def decode_rows(text: str) -> NDArray[np.int64]:
    """The sorted row numbers of a text.

    Raises:
        FormatError: if the text is none of ``encode_rows``.

    Example:
        >>> decode_rows("AqoC").tolist()
        [2, 300]
    """
    try:
        raw = np.frombuffer(base64.b64decode(text, validate=True), dtype=np.uint8)
    except (binascii.Error, ValueError, TypeError) as error:
        raise FormatError(f"row numbers must be base64, got {str(text)[:40]!r}") from error
    if not len(raw):
        return np.zeros(0, dtype=np.int64)
    if raw[-1] & 128:
        raise FormatError("the row numbers are cut short")
    ends = np.flatnonzero(raw < 128)
    starts = np.concatenate([[0], ends[:-1] + 1])
    width = ends - starts + 1
    if width.max() > 8:
        raise FormatError("a row number is too large")
    deltas = np.zeros(len(ends), dtype=np.int64)
    for place in range(int(width.max())):
        here = width > place
        deltas[here] |= (raw[starts[here] + place].astype(np.int64) & 127) << (7 * place)
    if deltas.sum(dtype=np.float64) > LARGEST:
        raise FormatError("a row number is too large")
    return np.cumsum(deltas)
