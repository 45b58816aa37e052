"""Files that are there whole or not at all."""

import errno
import os
import tempfile
from pathlib import Path


def replace_file(path: str | os.PathLike[str], content: bytes) -> Path:
    """Writes a file beside its place and moves it there; the path."""
    target = Path(os.path.realpath(path))  # a link stays one, what it points to is replaced
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a folder, a file was to be written", str(path))
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "no such folder", str(target.parent))
    handle, name = tempfile.mkstemp(prefix=".symphony-", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(name, 0o666 & ~mask)  # as a plain open would have made it
        os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return Path(path)
