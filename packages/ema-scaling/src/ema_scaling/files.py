"""Tables in and out of files: TOML, JSON, YAML and JSON Lines; the header of safetensors.

Everything is written under another name first and then moved, so no half file is ever seen.
"""

import json
import os
import tempfile
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

MAX_TABLE_BYTES = 16_000_000
_MAX_HEADER_BYTES = 100_000_000
_MALFORMED = (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError)


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place when the block ends well."""
    path = Path(path)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text)


def read_table(path: str | Path) -> dict[str, Any]:
    """The table in a TOML, JSON or YAML file (YAML needs the extra ``[yaml]``).

    Args:
        path: a file ending in .toml, .json, .yaml or .yml, of at most 16 MB.

    Returns:
        The table, keys to values.

    Raises:
        ValueError: if the file is too large, cannot be parsed, or is no table.
        OSError: if it cannot be read.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_text(f"{folder}/recipe.toml", "batch = 256")
        ...     read_table(f"{folder}/recipe.toml")
        {'batch': 256}
    """
    path = Path(path)
    if (size := path.stat().st_size) > MAX_TABLE_BYTES:
        raise ValueError(f"{path} has {size} bytes; a table has at most {MAX_TABLE_BYTES}")
    try:
        text = path.read_text()
        table = _parse(text, path.suffix.lower())
    except (ValueError, RecursionError) as error:
        detail = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path} cannot be read: {detail}") from error
    if not isinstance(table, dict):
        raise ValueError(f"{path} holds no table, but a {type(table).__name__}")
    return table


def _parse(text: str, suffix: str) -> Any:
    if suffix == ".toml":
        return tomllib.loads(text)
    if suffix == ".json":
        return json.loads(text)
    if suffix not in (".yaml", ".yml"):
        raise ValueError(f"the ending {suffix!r} is none of .toml, .json, .yaml, .yml")
    try:
        import yaml
    except ImportError as error:
        raise ValueError("YAML needs the extra: install ema-scaling[yaml]") from error
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error


def dump_table(table: Mapping[str, Any], suffix: str) -> str:
    """A table as text in the format of a file's ending; TOML is flat or one level deep."""
    if suffix == ".json":
        return json.dumps(table, indent=2, default=list) + "\n"
    if suffix == ".toml":
        return _toml(table)
    if suffix in (".yaml", ".yml"):
        import yaml

        return yaml.safe_dump(json.loads(json.dumps(table, default=list)), sort_keys=False)
    raise ValueError(f"the ending {suffix!r} is none of .toml, .json, .yaml, .yml")


def _toml(table: Mapping[str, Any], name: str = "") -> str:
    plain = {k: v for k, v in table.items() if not isinstance(v, Mapping) and v is not None}
    lines = [f"[{name}]"] if name else []
    lines += [f"{_key(key)} = {_value(value)}" for key, value in plain.items()]
    text = "".join(f"{line}\n" for line in lines)
    for key, value in table.items():
        if isinstance(value, Mapping):
            inner = f"{name}.{_key(key)}" if name else _key(key)
            text += ("\n" if text else "") + _toml(value, inner)
    return text


def _key(key: str) -> str:
    bare = key.replace("_", "").replace("-", "")
    return key if bare.isascii() and bare.isalnum() else json.dumps(key)


def _value(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, (bool, int, str)):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, float):
        return repr(value)
    return json.dumps(str(value))


def read_rows(path: str | Path) -> Iterator[dict[str, Any]]:
    """The rows of a JSON Lines file; a last line that was cut off is left out.

    Raises:
        ValueError: naming the file and line that is no JSON object.
        OSError: if the file cannot be read.
    """
    with open(path) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                if not line.endswith("\n"):
                    return
                raise ValueError(f"{path}, line {number} is no JSON: {error}") from error
            if not isinstance(row, dict):
                raise ValueError(f"{path}, line {number} is no JSON object")
            yield row


def append_rows(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Append rows to a JSON Lines file, each as one line.

    A last line without its end is ended, or removed where it was cut off within.
    """
    with open(path, "a+b") as file:
        whole = _whole(file)
        file.seek(whole)
        try:
            json.loads(file.read())
        except ValueError:
            file.truncate(whole)
        else:
            file.write(b"\n")
        file.writelines(json.dumps(row).encode() + b"\n" for row in rows)


def _whole(file: BinaryIO) -> int:
    """How many bytes of a file of lines are whole lines."""
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - 4096)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def read_header(path: str | Path) -> tuple[dict[str, str], dict[str, dict[str, Any]]]:
    """The metadata and the tensors' descriptions of a safetensors file, checked against its size.

    Args:
        path: the file.

    Returns:
        The metadata, and for each tensor its "dtype", "shape" and "data_offsets".

    Raises:
        ValueError: if the file is truncated or is no safetensors file.
        OSError: if it cannot be read.
    """
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, _MAX_HEADER_BYTES):
            raise ValueError(f"{path} is truncated or is no safetensors file")
        try:
            header = json.loads(file.read(length))
            metadata = header.pop("__metadata__", {})
            end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
        except _MALFORMED as error:
            raise ValueError(f"{path} is no safetensors file: its header is malformed") from error
    if size != 8 + length + end:
        raise ValueError(f"{path} is truncated: it has {size} bytes instead of {8 + length + end}")
    return metadata, header
