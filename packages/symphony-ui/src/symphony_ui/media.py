"""Images, sounds and texts of rows: from arrays, bytes, paths or Hugging Face's dicts to bytes."""

import base64
import io
import os
import wave
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from arro3.core import Array
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageOps

from symphony_ui.columns import Column, clean
from symphony_ui.convert import Nested
from symphony_ui.data import Coded
from symphony_ui.errors import ColumnError, MediaError
from symphony_ui.pixels import eight_bits, picture
from symphony_ui.sniff import WEB, mime_of

Item = tuple[str, bytes]
PIXELS = 100_000_000  # of an image that is read
LARGEST = 256 * 2**20  # bytes of a file that is read
LOSSLESS = 128  # px up to which a shrunk image stays lossless


@dataclass(frozen=True)
class Media:
    """What a column of media is made of; use ``Image``, ``Audio`` or ``Text``.

    Args:
        source: a column that holds arrays, bytes, paths or ``{"bytes", "path"}``; or those
            themselves, one a row. None: the column of the same name.
        root: the folder that paths lie in; nothing outside it is read.
    """

    type: ClassVar[Literal["image", "audio", "text"]]

    source: Any = None
    root: str | os.PathLike[str] = field(default=".", kw_only=True)

    def item(self, value: Any) -> Item:
        """The mime type and the bytes of one value.

        Raises:
            MediaError: if it cannot be read, or may not be.
        """
        raise NotImplementedError

    def _read(self, value: Any) -> bytes:
        """The bytes of a path, of bytes, or of a dict of either."""
        if isinstance(value, Mapping):
            raw = value.get("bytes")
            return self._read(raw if raw is not None else value.get("path"))
        if isinstance(value, (bytes, bytearray, memoryview)):
            return bytes(value)
        if isinstance(value, str) and value.startswith("data:"):
            return _of_data_address(value)
        if isinstance(value, (str, os.PathLike)):
            return _of_file(Path(self.root), os.fspath(value))
        raise MediaError(f"it is a {type(value).__name__}: expected an array, bytes or a path")


def _of_data_address(text: str) -> bytes:
    head, _, body = text.partition(",")
    if not head.endswith(";base64"):
        raise MediaError("a data: address must be in base64")
    try:
        return base64.b64decode(body, validate=True)
    except ValueError as error:
        raise MediaError("a data: address is not in base64") from error


def _of_file(root: Path, name: str) -> bytes:
    if "://" in name:
        raise MediaError(f"{name[:80]!r} is an address: nothing is fetched; pass the file's path")
    try:
        base = root.resolve(strict=True)
        path = (base / name).resolve(strict=True)
        if not path.is_relative_to(base):
            raise MediaError(
                f"{name!r} lies outside {str(root)!r}: pass root= a folder that holds it"
            )
        if not path.is_file():
            raise MediaError(f"{name!r} is no file")
        if path.stat().st_size > LARGEST:
            raise MediaError(f"{name!r} is larger than {LARGEST >> 20} MB")
        return path.read_bytes()
    except (OSError, ValueError, RuntimeError) as error:
        if isinstance(error, MediaError):
            raise
        raise MediaError(f"{name[:200]!r} cannot be read: {error}") from error


@dataclass(frozen=True)
class Image(Media):
    """Images, shrunk to ``size`` px of their longer side; None keeps them as they are.

    Example:
        >>> import numpy as np
        >>> Image().item(np.zeros((8, 8), dtype=np.uint8))[0]
        'image/png'
    """

    type = "image"
    size: int | None = field(default=64, kw_only=True)

    def __post_init__(self) -> None:
        if self.size is not None and not (type(self.size) is int and self.size > 0):
            raise MediaError(f"size must be a number of pixels or None, got {self.size!r}")

    def item(self, value: Any) -> Item:
        """The mime type and the bytes of an image."""
        if isinstance(value, Pillow.Image):
            return self._encoded(value, lossy=False)
        if _is_array(value):
            return self._encoded(picture(np.asarray(value)), lossy=False)
        raw = self._read(value)
        mime = mime_of(raw)
        if mime == "image/svg+xml":
            return mime, raw
        if mime is None or not mime.startswith("image/"):
            raise MediaError("its bytes are no image that is known")
        try:
            with Pillow.open(io.BytesIO(raw)) as image:
                if image.width * image.height > PIXELS:
                    raise MediaError(
                        f"it has {image.width} x {image.height} pixels, which is too many"
                    )
                if mime in WEB and (self.size is None or max(image.size) <= self.size):
                    image.load()  # so that broken files do not pass
                    return mime, raw
                return self._encoded(ImageOps.exif_transpose(image), lossy=mime == "image/jpeg")
        except MediaError:
            raise
        except Exception as error:  # decoders raise whatever they stumble over
            raise MediaError(f"it is a broken image: {error}") from error

    def _encoded(self, image: Pillow.Image, *, lossy: bool) -> Item:
        """The image shrunk, as PNG, or as JPEG where nobody will see the difference."""
        if image.mode[0] in "IF":
            image = picture(eight_bits(np.asarray(image)))
        alpha = "A" in image.getbands() or "transparency" in image.info
        if image.mode not in ("L", "RGB", "RGBA"):
            image = image.convert("RGBA" if alpha else "L" if image.mode == "1" else "RGB")
        if self.size is not None and max(image.size) > self.size:
            image = image.copy()
            image.thumbnail((self.size, self.size), Pillow.Resampling.LANCZOS)
        file = io.BytesIO()
        if not alpha and (lossy or max(image.size) > LOSSLESS):
            image.save(file, "JPEG", quality=85)
            return "image/jpeg", file.getvalue()
        image.save(file, "PNG")
        return "image/png", file.getvalue()


def _is_array(value: Any) -> bool:
    return hasattr(value, "__array__") and not isinstance(value, (str, bytes))


@dataclass(frozen=True)
class Audio(Media):
    """Sounds, from files or from arrays of samples ``(T,)`` or ``(T, channels)`` at ``rate`` Hz.

    Example:
        >>> import numpy as np
        >>> Audio(rate=8000).item(np.zeros(80))[0]
        'audio/wav'
    """

    type = "audio"
    rate: int | None = field(default=None, kw_only=True)

    def item(self, value: Any) -> Item:
        """The mime type and the bytes of a sound."""
        if isinstance(value, Mapping) and value.get("array") is not None:
            return _wave(np.asarray(value["array"]), value.get("sampling_rate", self.rate))
        if isinstance(value, list) or _is_array(value):
            return _wave(np.asarray(value), self.rate)
        raw = self._read(value)
        mime = mime_of(raw)
        if mime is None or not mime.startswith("audio/"):
            raise MediaError("its bytes are no sound that is known")
        return mime, raw


def _wave(samples: NDArray[Any], rate: Any) -> Item:
    """Samples as 16-bit WAV; floats lie in -1 to 1."""
    if not isinstance(rate, (int, float, np.number)) or not 1 <= rate < 2**30:
        raise MediaError(f"samples need their rate in Hz: pass Audio(rate=16000), got {rate!r}")
    if samples.ndim not in (1, 2) or (samples.ndim == 2 and not 1 <= samples.shape[1] <= 8):
        raise MediaError(f"its shape is {samples.shape}: expected (T,) or (T, channels)")
    if samples.dtype.kind == "f":
        samples = np.rint(np.clip(np.nan_to_num(samples), -1, 1) * 32767).astype(np.int16)
    elif samples.dtype != np.int16:
        raise MediaError(f"its dtype is {samples.dtype}: expected floats or int16")
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        out.setsampwidth(2)
        out.setframerate(int(rate))
        out.writeframes(samples.astype("<i2").tobytes())
    return "audio/wav", file.getvalue()


@dataclass(frozen=True)
class Text(Media):
    """Long texts, shown as they are.

    Example:
        >>> Text().item("<b>")
        ('text/plain', b'<b>')
    """

    type = "text"

    def item(self, value: Any) -> Item:
        """The mime type and the bytes of a text."""
        return "text/plain", clean(str(value)).encode()


class MediaColumn:
    """A column of media: its values, and how to make bytes of them when they are wanted."""

    def __init__(self, name: str, media: Media, values: Any) -> None:
        self.name = name
        self.media = media
        self._values = _listed(values)
        self._kept: dict[int, Item | None] = {}

    def __len__(self) -> int:
        return len(self._values)

    def item(self, row: int) -> Item | None:
        """The mime type and bytes of a row's media, or None where it has none.

        Raises:
            MediaError: naming the column and the row.
        """
        if row in self._kept:
            return self._kept[row]
        value = self._values[row]
        try:
            made = None if _none(value) else self.media.item(value)
        except MediaError as error:
            raise MediaError(f"{self.name!r}, row {row}: {error}") from error
        if made is None or len(made[1]) < 2**16:  # what was shrunk; files are the system's to keep
            while len(self._kept) > 2000:
                self._kept.pop(next(iter(self._kept)), None)
            self._kept[row] = made
        return made

    def column(self) -> Column:
        """The column as the page's spec lists it."""
        size = getattr(self.media, "size", None)
        shape = next((getattr(v, "shape", ()) for v in self._values[:100] if not _none(v)), ())
        if self.media.type == "image" and len(shape) >= 2:
            side = max(shape[1:] if shape[0] in (1, 3, 4) and len(shape) == 3 else shape[:2])
            size = min(side, size or side)
        told = {"type": self.media.type, "size": size or 64}
        none = np.zeros(0)
        return Column(self.name, "media", self.media.type, none, len(self), media=told)


def _none(value: Any) -> bool:
    if value is None:
        return True
    if isinstance(value, Mapping):
        return all(value.get(key) is None for key in ("bytes", "path", "array"))
    return isinstance(value, float) and value != value


def _listed(values: Any) -> Any:
    """Values that are indexed by row."""
    if isinstance(values, Nested):
        return _listed(values.values)
    if isinstance(values, Array):
        return values.to_pylist()
    if isinstance(values, Coded):
        return [None if code < 0 else values.labels[code] for code in values.codes]
    if hasattr(values, "detach"):
        return np.asarray(values.detach().cpu())
    return values if isinstance(values, (np.ndarray, list)) else list(values)


def bind(name: str, media: Media, raw: Mapping[str, Any], rows: int) -> MediaColumn:
    """The media column of that name, out of the table's raw columns.

    Raises:
        ColumnError: if its source is not there, or has another length.
    """
    source = name if media.source is None else media.source
    if isinstance(source, str):
        if source not in raw:
            raise ColumnError(f"the media {name!r} come from {source!r}, which is no column")
        source = raw[source]
    elif isinstance(source, (Mapping, bytes)) or not isinstance(source, (Sequence, np.ndarray)):
        source = list(source) if hasattr(source, "__len__") else source
    if not hasattr(source, "__len__") or len(source) != rows:
        raise ColumnError(f"the media {name!r} must be {rows}, one a row")
    return MediaColumn(name, media, source)


def guess(nested: Nested) -> Media | None:
    """The media that a nested column holds by the looks of its first value, or None."""
    values = _listed(nested)
    first = next((v for v in values[:1000] if not _none(v)), None)
    if isinstance(first, Pillow.Image):
        return Image()
    if isinstance(first, np.ndarray):
        return Image() if first.dtype == np.uint8 and first.ndim in (2, 3) else None
    if isinstance(first, Mapping):
        if first.get("array") is not None and first.get("sampling_rate"):
            return Audio()
        if first.keys() <= {"bytes", "path"}:
            first = first.get("bytes") or first.get("path")
    mime = mime_of(first) if isinstance(first, (bytes, str)) else None
    if mime is not None and mime.startswith("image/"):
        return Image()
    return Audio() if mime is not None and mime.startswith("audio/") else None
