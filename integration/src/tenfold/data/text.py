"""Public-domain English: State of the Union addresses of 1790 to 1829, as symbols."""

import gzip
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FILE = Path(__file__).parent / "sotu" / "sotu-1790-1829.jsonl.gz"
SHA256 = (
    "b16a681623f691564f233d9bfd38e78ef93c7b27d5005deb3eee52475b7c340a"  # of the lines, unpacked
)


@dataclass(frozen=True)
class Text:
    """Symbols to train on and symbols to test on.

    Attributes:
        name: how figures call it.
        train: ``(N,)`` uint8, each the number of a character in ``alphabet``.
        test: ``(M,)`` uint8.
        alphabet: the characters, each once.
    """

    name: str
    train: np.ndarray
    test: np.ndarray
    alphabet: str

    def read(self, symbols: np.ndarray) -> str:
        """The characters of the symbols."""
        return "".join(self.alphabet[int(i)] for i in symbols)


def speeches() -> list[dict[str, int | str]]:
    """Return the 40 speeches in the order of their years: ``year``, ``president``, ``text``.

    Raises:
        ValueError: if the file beside this module is not the one that was committed.
    """
    lines = gzip.decompress(FILE.read_bytes())
    if (found := hashlib.sha256(lines).hexdigest()) != SHA256:
        raise ValueError(f"{FILE.name} has SHA-256 {found}, not {SHA256}: make it again")
    return [json.loads(line) for line in lines.splitlines()]


def sotu() -> Text:
    """Return the speeches as symbols, every fifth speech for testing, all others for training.

    Example:
        >>> text = sotu()
        >>> print(text.read(text.train[:47]))
        Fellow-Citizens of the Senate and House of Repr
    """
    texts = [str(speech["text"]) for speech in speeches()]
    alphabet = "".join(sorted({"\n", *"".join(texts)}))
    number = {character: i for i, character in enumerate(alphabet)}

    def symbols(part: list[str]) -> np.ndarray:
        return np.array([number[character] for character in "\n".join(part)], np.uint8)

    train = [text for i, text in enumerate(texts) if i % 5 != 4]
    name = "State of the Union addresses, 1790 to 1829 (every fifth held out)"
    return Text(name, symbols(train), symbols(texts[4::5]), alphabet)


def windows(symbols: np.ndarray, length: int) -> np.ndarray:
    """Return the symbols cut into windows of that length, ``(N, length)``; a rest is left out.

    Raises:
        ValueError: if ``length`` is not between 1 and the number of symbols.

    Example:
        >>> import numpy as np
        >>> windows(np.arange(7), 3)
        array([[0, 1, 2],
               [3, 4, 5]])
    """
    if not 1 <= length <= len(symbols):
        raise ValueError(f"length must be between 1 and {len(symbols)}, got {length}")
    return symbols[: len(symbols) // length * length].reshape(-1, length)
