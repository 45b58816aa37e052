"""Twenty million rows of Parquet through Ibis and DuckDB: memory, and how long a brush takes.

    python benchmarks/big.py [--rows 20000000] [--steps 20] [--quick] [--json FILE] [--readme]

The data are written to a temporary folder first. Each step moves a brush along the bins of one
histogram and asks for the counts of every chart, as the browser does; in a process of its own,
whose largest resident memory is the figure. Counts are compared with DuckDB's plain SQL.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from _report import finish, rewrite_readme

COLUMNS = ("a", "b", "c", "d")
MOST_MB, MOST_MS = 1500, 400


def write(path: Path, rows: int) -> None:
    """Four float32 columns, a category and an integer, in Parquet."""
    import duckdb

    duckdb.sql(f"""
        copy (
            select cast(random() as float) a, cast(random() * 2 - 1 as float) b,
                cast(sqrt(random()) as float) c, cast(random() + random() as float) d,
                chr(97 + cast(floor(random() * 8) as integer)) label,
                cast(floor(random() * 100) as integer) n
            from range({rows})
        ) to '{path}' (format parquet)
    """)


def measure(path: Path, steps: int) -> dict[str, object]:
    """Seconds to the first answer, ms of each step, MB of memory, and whether counts are right."""
    import duckdb
    import ibis
    import symphony_ui as sui

    start = time.perf_counter()
    page = sui.Page(sui.Ibis(ibis.read_parquet(path)))
    ends = {"a": (0, 1), "b": (-1, 1), "c": (0, 1), "d": (0, 2)}
    bins = {c: {"type": "linear", "lo": lo, "hi": hi, "n": 20} for c, (lo, hi) in ends.items()}
    labels = {"type": "levels", "levels": list("abcdefgh")}
    queries = [{"kind": "hist", "view": c, "column": c, "bins": b} for c, b in bins.items()]
    queries.append({"kind": "hist", "view": "label", "column": "label", "bins": labels})
    queries.append({"kind": "count"})
    page.answer(page.state.to_json(), queries)
    first = time.perf_counter() - start
    took = []
    for step in range(steps + 1):
        lo, hi = (step % 10) / 20, (step % 10 + 5) / 20
        state = {"v": 1, "brushes": {"a": ["bin", "a", lo, hi]}}
        start = time.perf_counter()
        answers = page.answer(state, queries)
        took.append(1000 * (time.perf_counter() - start))
    sql = f"select count(*) from '{path}' where a >= {lo} and a < {hi}"
    right = answers[-1]["visible"] == duckdb.execute(sql).fetchone()[0]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"first_s": first, "start_ms": took[0], "steps_ms": took[1:], "mb": peak, "right": right}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--quick", action="store_true", help="few rows: does it run at all")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--readme", action="store_true", help="rewrite the README's table")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments, _ = parser.parse_known_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, arguments.steps)))
        return 0
    if arguments.quick:
        arguments.rows = 200_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.parquet"
        write(path, arguments.rows)
        command = [sys.executable, __file__, "--measure", str(path)]
        command += ["--steps", str(arguments.steps)]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        found = json.loads(run.stdout.splitlines()[-1])
    if not found["right"]:
        raise SystemExit("the counts differ from DuckDB's")
    steps = sorted(found["steps_ms"])
    p95 = steps[-(-95 * len(steps) // 100) - 1]
    text = "\n".join(
        [
            f"| {arguments.rows:,} rows of Parquet, by Ibis and DuckDB | |",
            "|---|---|",
            f"| open it and answer six charts | {found['first_s']:.1f} s |",
            f"| a brush begins (one pass over the data) | {found['start_ms']:.0f} ms |",
            f"| a step of it, median and p95 | {statistics.median(steps):.1f}, {p95:.1f} ms |",
            f"| largest resident memory | {found['mb']:.0f} MB |",
            "",
            f"{len(steps)} steps, duckdb {version('duckdb')}, ibis {version('ibis-framework')}; "
            "counts equal to DuckDB's own. Made by `uv run nox -s bench -- symphony-ui --readme`.",
        ]
    )
    print(text)
    if arguments.readme:
        rewrite_readme("ibis", text)
    bars = {} if arguments.quick else {"mb": {"at_most": MOST_MB}, "ms": {"at_most": MOST_MS}}
    of = f"{arguments.rows:,} rows by Ibis"
    races = [
        {"what": f"{of}: seconds to six charts", "value": found["first_s"]},
        {"what": f"{of}: ms in which a brush begins", "value": found["start_ms"]},
        {"what": f"{of}: ms of a brush step, p95", "value": p95} | bars.get("ms", {}),
        {"what": f"{of}: MB resident", "value": found["mb"]} | bars.get("mb", {}),
    ]
    return finish(races, ("symphony-ui", "duckdb", "ibis-framework"), arguments.json, found=found)


if __name__ == "__main__":
    sys.exit(main())
