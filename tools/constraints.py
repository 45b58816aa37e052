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
    return compare(out.stdout.splitlines(), TARGET.read_text().splitlines())


def compare(now: list[str], written: list[str]) -> int:
    """Fail where packages came or went; say where only a version differs.

    An index may show a release late, so that a version alone proves no change of ours.
    """
    names = [{line.split("==")[0] for line in lines} for lines in (now, written)]
    if names[0] != names[1]:
        changed = ", ".join(sorted(names[0] ^ names[1]))
        print(f"constraints.txt is stale ({changed}): run `uv run nox -s constrain`")
        return 1
    for line in sorted(set(now) - set(written)):
        print(f"constraints.txt has another version than {line}: run `uv run nox -s constrain`")
    return 0


if __name__ == "__main__":
    sys.exit(main())
