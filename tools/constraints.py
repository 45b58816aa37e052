"""Write constraints.txt, the versions that the whole workspace resolves to; `--check` compares."""

import subprocess
import sys
from pathlib import Path

TARGET = Path(__file__).parents[1] / "constraints.txt"
EXPORT = (
    "uv export --quiet --all-packages --all-groups --all-extras --no-hashes --no-emit-workspace"
    " --no-header --no-annotate"
)


def main() -> int:
    """Export, refuse addresses, then compare or write."""
    root = TARGET.parent
    out = subprocess.run(EXPORT.split(), cwd=root, check=True, capture_output=True, text=True)
    if "://" in out.stdout:
        print("uv export printed an address; constraints.txt must hold none", file=sys.stderr)
        return 1
    if "--check" not in sys.argv:
        TARGET.write_text(out.stdout)
        print(f"{TARGET.name}: {len(out.stdout.splitlines())} lines")
        return 0
    if not TARGET.exists() or out.stdout != TARGET.read_text():
        print("constraints.txt is stale: run `uv run nox -s constrain`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
