"""Codes of packed bits: one bit a latent, their Hamming neighbours, and a book of them on disk."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from torch import Tensor

from lv_ssl.arrays import read_npz, write_npz

FORMAT, VERSION = "lv-ssl codes", 1
_QUERIES, _TILE = 8, 8192  # of a block: its working memory stays in the cache


def pack_bits(bits: np.ndarray | Tensor) -> np.ndarray:
    """Return codes of eight bits a byte.

    Args:
        bits: ``(N, D)`` of zeros and ones, of any dtype: a posterior's ``mode``.

    Returns:
        ``(N, ceil(D / 8))`` uint8; bit j of a row is bit ``j % 8`` of byte ``j // 8``, counted
        from the lowest, and what is left of the last byte is 0.

    Raises:
        ValueError: on another shape, or values other than 0 and 1.

    Source:
        Ours; NumPy's ``bitorder="little"``.

    Example:
        >>> pack_bits(np.array([[1, 0, 0, 0, 0, 0, 0, 0, 1]]))
        array([[1, 1]], dtype=uint8)
    """
    x = bits.detach().cpu().numpy() if isinstance(bits, Tensor) else np.asarray(bits)
    if x.ndim != 2 or not x.shape[1]:
        raise ValueError(f"bits must be (N, D) with D >= 1, got {x.shape}")
    ones = x == 1
    if not np.array_equal(ones, x.astype(bool)):
        raise ValueError("bits must be 0 or 1: use posterior.mode, or values > 0.5")
    return np.packbits(ones, axis=1, bitorder="little")


def unpack_bits(codes: np.ndarray, bits: int) -> np.ndarray:
    """Return the bits that `pack_bits` packed.

    Args:
        codes: ``(N, ceil(bits / 8))`` uint8.
        bits: D.

    Returns:
        ``(N, D)`` uint8 of zeros and ones.

    Raises:
        ValueError: if the codes' bytes do not fit, or a bit behind the last is set.
        TypeError: if they are not uint8.

    Source:
        The inverse of `pack_bits`.

    Example:
        >>> unpack_bits(np.array([[5]], np.uint8), 4)
        array([[1, 0, 1, 0]], dtype=uint8)
    """
    _check_codes("codes", codes, bits)
    return np.unpackbits(codes, axis=1, bitorder="little", count=bits)


def _check_codes(name: str, codes: np.ndarray, bits: int) -> None:
    if not isinstance(codes, np.ndarray) or codes.dtype != np.uint8:
        got = getattr(codes, "dtype", type(codes).__name__)
        raise TypeError(f"{name} must be a uint8 array, got {got}: use pack_bits")
    if bits < 1 or codes.ndim != 2 or codes.shape[1] != (bits + 7) // 8:
        raise ValueError(f"{name} must be (N, ceil(bits / 8)), got {codes.shape} for bits = {bits}")
    if bits % 8 and len(codes) and int(codes[:, -1].max()) >> bits % 8:
        raise ValueError(f"{name} must be 0 behind their {bits} bits, got ones there")


class Neighbours(NamedTuple):
    """The nearest codes of each query: ``(Q, k)``, the nearest first, the earlier row on a tie."""

    distances: np.ndarray
    indices: np.ndarray


def hamming_knn(
    queries: np.ndarray,
    codes: np.ndarray,
    k: int,
    *,
    leave_out_self: bool = False,
    threads: int | None = None,
) -> Neighbours:
    """Return the k codes with the fewest other bits, for each query.

    Args:
        queries: ``(Q, bytes)`` uint8, from `pack_bits`.
        codes: ``(N, bytes)`` uint8.
        k: neighbours of each, at most N.
        leave_out_self: row i of the queries is row i of the codes, and no neighbour of itself.
        threads: that work at once; None takes as many as there are processors.

    Returns:
        `Neighbours`: distances in bits (uint16, or uint32 above 65,535 bits), indices int32.

    Raises:
        ValueError: if the bytes differ or k is out of range.
        TypeError: on arrays that are not uint8.

    Source:
        Population count of 64-bit words, word by word over tiles of the codes.

    Example:
        >>> codes = pack_bits(np.eye(3, 10))
        >>> hamming_knn(codes[:1], codes, 2)
        Neighbours(distances=array([[0, 2]], dtype=uint16), indices=array([[0, 1]], dtype=int32))
    """
    for name, x in (("queries", queries), ("codes", codes)):
        _check_codes(name, x, 8 * np.shape(x)[-1] if np.ndim(x) else 0)
    if queries.shape[1] != codes.shape[1]:
        raise ValueError(
            f"queries and codes must have equal bytes, got {queries.shape[1]} and {codes.shape[1]}"
        )
    if leave_out_self and len(queries) != len(codes):
        got = f"{len(queries)} and {len(codes)}"
        raise ValueError(f"leave_out_self needs as many queries as codes, got {got}")
    if not 1 <= k <= len(codes) - leave_out_self:
        raise ValueError(f"k must be in 1 to {len(codes) - leave_out_self}, got {k}")
    workers = os.cpu_count() or 1 if threads is None else threads
    if workers < 1:
        raise ValueError(f"threads must be at least 1, got {threads}")
    search = _Search(queries, codes, k, leave_out_self)
    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(search.run, _blocks(len(queries), workers)):
            pass
    return search.found


def _blocks(queries: int, workers: int) -> Iterator[range]:
    """Shares of the queries, a few for each worker, so that none is long alone."""
    share = max(_QUERIES, -(-queries // (8 * workers)))
    return (range(a, min(a + share, queries)) for a in range(0, queries, share))


class _Search:
    """What the threads share; each writes the rows of its own queries."""

    def __init__(self, queries: np.ndarray, codes: np.ndarray, k: int, without_self: bool) -> None:
        self.queries, self.k, self.without_self = queries, k, without_self
        self.words = _words(codes).T.copy()  # (W, N): a word of all codes lies together
        wide = np.uint16 if 8 * codes.shape[1] <= np.iinfo(np.uint16).max else np.uint32
        shape = (len(queries), k)
        self.found = Neighbours(np.empty(shape, wide), np.empty(shape, np.int32))

    def run(self, rows: range) -> None:
        n = self.words.shape[1]
        distances = np.empty((_QUERIES, n), self.found.distances.dtype)
        buffers = np.empty((_QUERIES, _TILE), np.uint64), *np.empty((2, _QUERIES, _TILE), np.uint8)
        for a in range(rows.start, rows.stop, _QUERIES):
            words = _words(self.queries[a : min(a + _QUERIES, rows.stop)])
            d = distances[: len(words)]
            for start in range(0, n, _TILE):
                tile = slice(start, min(start + _TILE, n))
                _count(words, self.words[:, tile], d[:, tile], *buffers)
            self._select(d, a)

    def _select(self, d: np.ndarray, first: int) -> None:
        """The k nearest of each row of distances; a sample's k-th bounds the k-th of all."""
        n, k = d.shape[1], self.k
        if self.without_self:
            d[np.arange(len(d)), np.arange(first, first + len(d))] = np.iinfo(d.dtype).max
        sample = d[:, :: max(1, min(16, n // (4 * k)))]
        bounds = np.partition(sample, k - 1, axis=1)[:, k - 1]
        for row, bound in enumerate(bounds):
            near = np.flatnonzero(d[row] <= bound)
            order = np.argsort(d[row, near], kind="stable")[:k]
            self.found.indices[first + row] = near[order]
            self.found.distances[first + row] = d[row, near[order]]


def _count(
    queries: np.ndarray,
    words: np.ndarray,
    out: np.ndarray,
    differing: np.ndarray,
    ones: np.ndarray,
    three: np.ndarray,
) -> None:
    """Distances of ``(Q, W)`` queries to ``(W, M)`` codes; three words' counts fit in a byte."""
    place = np.s_[: len(queries), : words.shape[1]]
    differing, ones, three = differing[place], ones[place], three[place]
    for w in range(0, len(words), 3):
        for j in range(w, min(w + 3, len(words))):
            np.bitwise_xor(queries[:, j, None], words[j], out=differing)
            np.bitwise_count(differing, out=ones if j > w else three)
            if j > w:
                np.add(three, ones, out=three)
        np.add(out, three, out=out) if w else np.copyto(out, three)


def _words(codes: np.ndarray) -> np.ndarray:
    """``(N, bytes)`` as ``(N, W)`` 64-bit words, zeros behind the last byte."""
    short = -codes.shape[1] % 8
    if short:
        codes = np.pad(codes, ((0, 0), (0, short)))
    return np.ascontiguousarray(codes).view(np.uint64)


@dataclass(frozen=True, eq=False)
class CodeBook:
    """The codes of N inputs, and what was inferred of them beside the bits.

    Attributes:
        codes: ``(N, ceil(bits / 8))`` uint8, from `pack_bits`.
        bits: of each code.
        uncertainty: ``(N,)`` float32, higher for the less certain.
        rate: ``(bits,)`` float32, each bit's mean KL in nats: what it tells of the input, at most.
        model: SHA-256 of the head's file, or nothing.
    """

    codes: np.ndarray
    bits: int
    uncertainty: np.ndarray
    rate: np.ndarray
    model: str = ""

    def __post_init__(self) -> None:
        _check_codes("codes", self.codes, self.bits)
        for name, shape in (("uncertainty", (len(self.codes),)), ("rate", (self.bits,))):
            got = getattr(self, name)
            if got.dtype != np.float32 or got.shape != shape or not np.isfinite(got).all():
                raise ValueError(
                    f"{name} must be finite float32 of {shape}, got {got.dtype} {got.shape}"
                )

    def __len__(self) -> int:
        return len(self.codes)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the book as .npz; the file is there as a whole or not at all.

        Args:
            path: where.

        Raises:
            OSError: if it cannot be written.

        Example:
            >>> import tempfile
            >>> ones = np.ones(3, np.float32)
            >>> book = CodeBook(pack_bits(np.eye(3)), 3, ones, ones)
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     book.save(folder + "/codes.npz")
            ...     len(CodeBook.load(folder + "/codes.npz"))
            3
        """
        header = {"format": FORMAT, "version": VERSION, "bits": self.bits, "rows": len(self)}
        header |= {"bitorder": "little", "model": self.model}
        names = ("codes", "uncertainty", "rate")
        write_npz(path, header, {name: getattr(self, name) for name in names})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "CodeBook":
        """Return the book of a file.

        Args:
            path: what `save` wrote.

        Returns:
            `CodeBook`.

        Raises:
            ValueError: if it is no such file, or its header and its arrays disagree.
            OSError: if it cannot be read.

        Example:
            >>> CodeBook.load("nowhere.npz")
            Traceback (most recent call last):
            FileNotFoundError: [Errno 2] No such file or directory: 'nowhere.npz'
        """
        header, arrays = read_npz(path)
        wanted = {"format": FORMAT, "version": VERSION, "bitorder": "little"}
        for name, value in wanted.items():
            if header.get(name) != value:
                got = header.get(name)
                raise ValueError(f"{path}: {name} must be {value!r}, got {got!r}")
        bits, rows, model = (header.get(name) for name in ("bits", "rows", "model"))
        if type(bits) is not int or type(rows) is not int or not isinstance(model, str):
            raise ValueError(f"{path} has a header without bits, rows and model")
        if set(arrays) != {"codes", "uncertainty", "rate"}:
            raise ValueError(f"{path} must hold codes, uncertainty and rate, got {sorted(arrays)}")
        try:
            book = cls(**arrays, bits=bits, model=model)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: {error}") from error
        if len(book) != rows:
            raise ValueError(f"{path} holds {len(book)} codes, its header says {rows}")
        return book
