"""Races in headless Chromium: how soon points are on the screen, and a brush step against arquero.

    uv run nox -s bench -- symphony-ui                         # with the other races
    python benchmarks/browser.py [--rounds 20] [--quick] [--json FILE] [--readme]

The first points of a scatter of 100,000 rows: our widget against those of embedding-atlas and
jupyter-scatter, each as its own wheel ships it. A notebook's side is played by one small server:
it hands over the model's state and buffers, and answers the widget's messages out of numpy, or for
embedding-atlas out of DuckDB, as its Python side would. Contenders take turns in fresh contexts.
Measured is the time from asking for the document until the frame after the first draw of all
points; what the graphics process does after that is not counted, which favours the peers. Where
there is no WebGPU with ``shader-f16``, embedding-atlas draws nothing: then its time is that at
which the points have arrived in its page, which favours it further.

Then ``browser.mjs`` times saved pages and the brush against arquero; it needs node and ``npm ci``
in ``js/``.
"""

import argparse
import base64
import importlib.metadata
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from _report import finish, rewrite_readme
from symphony_ui.components import Scatter
from symphony_ui.page import Page

HERE = Path(__file__).parent
STATIC = HERE.parent / "src" / "symphony_ui" / "static"
PEERS = {"embedding-atlas": "0.26.0", "jupyter-scatter": "1.0.1"}
LEAST_SPEEDUP, LEAST_BYTES = 3.0, 10.0
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--enable-unsafe-swiftshader",
)  # fmt: skip
Row = dict[str, Any]

# Notes the frame after the first draw of half of the points, by WebGL, WebGPU or our raster.
WATCH = """
const half = ROWS / 2;
globalThis.enough = ROWS * 8;
let first = null;
const seen = () => {
  if (first !== null) return;
  first = 0;
  requestAnimationFrame(() => { first = performance.now(); globalThis.firstPoints = first; });
};
const watch = (kind, calls) => {
  for (const [name, at] of Object.entries(calls)) {
    const own = kind?.prototype[name];
    if (own) kind.prototype[name] = function (...given) {
      const done = own.apply(this, given);
      if (at.some((k) => given[k] >= half)) seen();
      return done;
    };
  }
};
const gl = {
  drawArrays: [2], drawElements: [1], drawArraysInstanced: [2, 3], drawElementsInstanced: [1, 4],
};
watch(globalThis.WebGLRenderingContext, gl);
watch(globalThis.WebGL2RenderingContext, gl);
watch(globalThis.GPURenderPassEncoder, { draw: [0, 1], drawIndexed: [0, 1] });
new MutationObserver(() => {
  const canvas = document.querySelector("canvas[data-drawn]");
  if (canvas && Number(canvas.dataset.drawn) >= half) seen();
}).observe(document, {
  subtree: true, childList: true, attributes: true, attributeFilter: ["data-drawn"],
});
"""

# A notebook's side: a model with the state of the widget, and messages that the server answers.
DOCUMENT = """<!doctype html><meta charset="utf-8"><title>Race</title>
<body style="margin:0"><div id="cell" style="width:900px;height:650px"></div>
<script type="module">
const loaded = import("./widget.js");
const { state, paths } = await (await fetch("state")).json();
await Promise.all(paths.map(async (path, k) => {
  const bytes = await (await fetch(`buffer/${k}`)).arrayBuffer();
  const last = path.pop();
  path.reduce((at, key) => at[key], state)[last] = new DataView(bytes);
}));
const hears = new Map();
const model = {
  get: (name) => state[name],
  set: (name, value) => void (state[name] = value),
  save_changes() {},
  on: (name, fn) => hears.set(name, [...(hears.get(name) ?? []), fn]),
  off() {},
  async send(content) {
    const answer = await fetch("message", { method: "POST", body: JSON.stringify(content) });
    const bytes = await answer.arrayBuffer();
    const reply = JSON.parse(atob(answer.headers.get("X-Reply")));
    for (const fn of hears.get("msg:custom") ?? []) fn(reply, [new DataView(bytes)]);
    if (bytes.byteLength >= globalThis.enough) globalThis.arrived ??= performance.now();
  },
};
const widget = (await loaded).default;
await widget.initialize?.({ model });
await widget.render({ model, el: document.getElementById("cell") });
</script>"""


@dataclass
class Contender:
    """A widget: its script, its state, and who answers its messages."""

    name: str
    version: str
    script: bytes
    state: dict[str, Any]
    reply: Callable[[dict[str, Any]], tuple[dict[str, Any], bytes]]
    style: bytes = b""
    mark: str = "firstPoints"  #: what is waited for, or "arrived"
    times: list[float] = field(default_factory=list)

    @property
    def shipped(self) -> int:
        """Bytes of script."""
        return len(self.script)


def points(rows: int) -> dict[str, np.ndarray]:
    """Two columns of six clouds, float32."""
    random = np.random.default_rng(0)
    centre = random.integers(0, 6, rows)
    x = 4 * np.cos(centre) + random.normal(size=rows)
    y = 4 * np.sin(1.7 * centre) + random.normal(size=rows)
    return {"x": x.astype(np.float32), "y": y.astype(np.float32)}


def ours(table: dict[str, np.ndarray]) -> Contender:
    page = Page(table, [[Scatter("x", "y")]])
    state = {
        "_spec": json.dumps(page.spec("widget")),
        "_state": json.dumps(page.session.message()),
    }

    def reply(asked: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        head = {"block": asked["name"], "id": asked["id"], "index": 0, "count": 1}
        return head, page.block(asked["name"])

    script = (STATIC / "symphony.js").read_bytes()
    style = (STATIC / "symphony.css").read_bytes()
    return Contender("symphony-ui", "this one", script, state, reply, style)


def wheel_folder(name: str) -> Path:
    """The files of a peer's wheel, without what it depends on; fetched once."""
    target = HERE.parents[2] / "build" / "peers" / f"{name}-{PEERS[name]}"
    if not target.is_dir():
        command = ["uv", "pip", "install", "-q", "--no-deps", f"--target={target}"]
        subprocess.run([*command, f"{name}=={PEERS[name]}"], check=True)
    return target


def embedding_atlas(table: dict[str, np.ndarray]) -> Contender:
    import duckdb
    import pyarrow

    folder = wheel_folder("embedding-atlas") / "embedding_atlas"
    spec = importlib.util.spec_from_file_location("options", folder / "options.py")
    assert spec is not None
    assert spec.loader is not None
    options = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(options)
    rows = {"__row_index__": np.arange(len(table["x"]), dtype=np.int32), **table}
    frame = pyarrow.table(rows)
    connection = duckdb.connect()
    connection.register("frame", frame)
    connection.execute("CREATE TEMPORARY TABLE embedding_atlas AS SELECT * FROM frame")
    lock = threading.Lock()

    def reply(asked: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        head = {"type": asked["type"], "uuid": asked["uuid"]}
        with lock:
            if asked["type"] == "exec":
                connection.execute(asked["sql"])
                return head, b""
            found = connection.sql(asked["sql"]).to_arrow_table()
        if asked["type"] == "json":
            return {**head, "result": found.to_pylist()}, b""
        sink = pyarrow.BufferOutputStream()
        with pyarrow.ipc.new_stream(sink, found.schema) as writer:
            writer.write_table(found)
        return head, sink.getvalue().to_pybytes()

    props = options.make_embedding_atlas_props(
        table="embedding_atlas", row_id="__row_index__", x="x", y="y", labels="disabled"
    )
    state = {"_props": props, "_state": None, "_predicate": None}
    script = (folder / "widget_static" / "anywidget" / "index.js").read_bytes()
    name = "embedding-atlas"
    return Contender(name, PEERS[name], script, state, reply, mark="arrived")


def jupyter_scatter(table: dict[str, np.ndarray]) -> Contender:
    import jscatter

    widget = jscatter.Scatter(x=table["x"], y=table["y"], height=600).widget
    folder = Path(jscatter.__file__).parent
    script = (folder / "bundle.js").read_bytes()
    style = (folder / "bundle.css").read_bytes()
    state = {k: v for k, v in widget.get_state().items() if k not in ("_esm", "_css", "layout")}
    version = importlib.metadata.version("jupyter-scatter")
    return Contender("jupyter-scatter", version, script, state, lambda asked: ({}, b""), style)


def split(value: Any, at: tuple[Any, ...] = ()) -> tuple[Any, list[list[Any]], list[bytes]]:
    """State without its binary parts, where they were, and they themselves."""
    if isinstance(value, (bytes, memoryview, bytearray)):
        return None, [list(at)], [bytes(value)]
    if not isinstance(value, (dict, list, tuple)):
        return value, [], []
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    made, paths, buffers = [], [], []
    for key, part in pairs:
        plain, below, raw = split(part, (*at, key))
        made.append((key, plain))
        paths += below
        buffers += raw
    return dict(made) if isinstance(value, dict) else [p for _, p in made], paths, buffers


class Notebook(ThreadingHTTPServer):
    """Serves one contender's document."""

    daemon_threads = True

    def __init__(self, contender: Contender) -> None:
        plain, paths, self.buffers = split(contender.state)
        self.state = json.dumps({"state": plain, "paths": paths}).encode()
        self.contender = contender
        super().__init__(("127.0.0.1", 0), Answers)
        threading.Thread(target=self.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/"


class Answers(BaseHTTPRequestHandler):
    """What a notebook would answer a widget."""

    server: Notebook

    def do_GET(self) -> None:
        """The document, the state, the module, a buffer."""
        path = self.path.strip("/")
        if path.startswith("buffer/"):
            return self.give(self.server.buffers[int(path[7:])], "application/octet-stream")
        style = base64.b64encode(self.server.contender.style).decode()
        link = f'<link rel="stylesheet" href="data:text/css;base64,{style}">'
        kinds = {
            "": (DOCUMENT.replace("<title>", link + "<title>").encode(), "text/html"),
            "state": (self.server.state, "application/json"),
            "widget.js": (self.server.contender.script, "text/javascript"),
        }
        return self.give(*kinds.get(path, (b"", "text/plain")))

    def do_POST(self) -> None:
        """A message of the widget's."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        head, body = self.server.contender.reply(asked)
        reply = base64.b64encode(json.dumps(head).encode()).decode()
        self.give(body, "application/octet-stream", reply)

    def give(self, body: bytes, kind: str, reply: str = "") -> None:
        """A response."""
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        if reply:
            self.send_header("X-Reply", reply)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


def first_points(rows: int, rounds: int) -> tuple[list[Contender], str]:
    """Contenders with their times in ms, in turns, and Chromium's version."""
    from playwright.sync_api import sync_playwright

    table = points(rows)
    contenders = []
    for make in (ours, embedding_atlas, jupyter_scatter):
        try:
            contenders.append(make(table))
        except ImportError as error:
            print(f"left out, a contender: {error}", file=sys.stderr)
    notebooks = [Notebook(contender) for contender in contenders]
    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        if draws_by_webgpu(browser, notebooks[0].url):
            for contender in contenders:
                contender.mark = "firstPoints"
        for number in range(rounds + 1):
            for notebook in notebooks if number % 2 else reversed(notebooks):
                context = browser.new_context(viewport={"width": 1000, "height": 800})
                page = context.new_page()
                page.add_init_script(WATCH.replace("ROWS", str(rows)))
                page.goto(notebook.url)
                mark = f"globalThis.{notebook.contender.mark}"
                page.wait_for_function(f"{mark} > 0", timeout=60_000)
                if number:  # the first round warms up
                    notebook.contender.times.append(page.evaluate(mark))
                context.close()
        found = browser.version
        browser.close()
    return contenders, found


def draws_by_webgpu(browser: Any, url: str) -> bool:
    """Whether this Chromium has the WebGPU that embedding-atlas asks for."""
    page = browser.new_page()
    page.goto(url)
    asked = "navigator.gpu?.requestAdapter().then((a) => a?.features.has('shader-f16') ?? false)"
    found = bool(page.evaluate(asked))
    page.close()
    return found


def rank(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(np.ceil(share * len(values))) - 1)]


def point_rows(contenders: list[Contender]) -> list[Row]:
    base = statistics.median(contenders[0].times)
    return [
        {
            "widget": c.name, "version": c.version, "mark": c.mark,
            "median_ms": statistics.median(c.times),
            "p95_ms": rank(c.times, 0.95), "ratio": statistics.median(c.times) / base,
            "script_bytes": c.shipped, "bytes_ratio": c.shipped / contenders[0].shipped,
        }
        for c in contenders
    ]  # fmt: skip


def races(found: list[Row], saved: Row | None, quick: bool) -> list[Row]:
    """One row a figure, with the bar that it must keep; without, where few points were drawn."""
    rows: list[Row] = []
    for row in found[1:]:
        what = f"{row['widget']} / symphony-ui"
        rows += [
            {"what": f"time to the first points: {what}", "value": row["ratio"]}
            | ({} if quick else {"at_least": LEAST_SPEEDUP}),
            {
                "what": f"bytes of script: {what}",
                "value": row["bytes_ratio"],
                "at_least": LEAST_BYTES,
            },
        ]
    return rows + (saved["bars"] if saved else [])


def pages(steps: int) -> Row | None:
    """What ``browser.mjs`` measures, or None without node."""
    if not shutil.which("node") or not (HERE.parent / "js" / "node_modules").is_dir():
        print("left out, saved pages and arquero: run `npm ci` in js/ first", file=sys.stderr)
        return None
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pages.json"
        command = ["node", str(HERE / "browser.mjs"), f"--steps={steps}", f"--json={file}"]
        subprocess.run([part for c in command for part in c.split("=", 1)], check=False)
        return json.loads(file.read_text())


def markdown(found: list[Row], chromium: str, rows: int, rounds: int, saved: Row | None) -> str:
    lines = [
        f"| widget, {rows:,} points | time to the first points | bytes of script |",
        "|---|---|---|",
    ]
    for row in found:
        name = row["widget"] if row["ratio"] == 1 else f"{row['widget']} {row['version']}"
        star = "" if row["mark"] == "firstPoints" else "*"
        lines.append(f"| {name} | {row['ratio']:.1f}{star} | {row['bytes_ratio']:.1f} |")
    lines.append("")
    if any(row["mark"] == "arrived" for row in found):
        lines += ["\\* until its points have arrived; it draws them by WebGPU only.", ""]
    if saved:
        lines += [
            "| a saved page in Chromium | 100,000 rows | 1,000,000 rows |",
            "|---|---|---|",
            *(
                f"| {name} | {cell(saved, '100000')} | {cell(saved, '1000000')} |"
                for name, cell in SAVED
            ),
            "",
        ]
    lines.append(
        f"Medians of {rounds} rounds in turn, Chromium {chromium}, {os.cpu_count()} cores, no GPU. "
        "Made by `uv run nox -s bench -- symphony-ui --readme`."
    )
    return "\n".join(lines)


SAVED: list[tuple[str, Callable[[Row, str], str]]] = [
    (
        "arquero 5.4.1's time for one brush step, ten columns, over ours",
        lambda s, n: f"{s['race'][n]['ratio']:,.0f}",
    ),
    (
        "a brush step with all drawing, over that at 100,000 rows",
        lambda s, n: (
            f"{s['pages'][n]['step']['median'] / s['pages']['100000']['step']['median']:.2f}"
        ),
    ),
    (
        "its 95th percentile, in frames of 16 ms",
        lambda s, n: f"{s['pages'][n]['step']['p95'] / 16:.2f}",
    ),
]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=100, help="brush steps of a saved page")
    parser.add_argument("--quick", action="store_true", help="few points: does it run at all")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--readme", action="store_true", help="rewrite the README's table")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rows, arguments.rounds = 10_000, 2
    contenders, chromium = first_points(arguments.rows, arguments.rounds)
    found = point_rows(contenders)
    for row in found:
        print(
            f"{row['widget']:16} {row['median_ms']:8.1f} ms, p95 {row['p95_ms']:8.1f} "
            f"({row['ratio']:.2f}), {row['script_bytes']:9,} bytes ({row['bytes_ratio']:.1f})"
        )
    saved = None if arguments.quick else pages(arguments.steps)
    text = markdown(found, chromium, arguments.rows, arguments.rounds, saved)
    print(f"\n{text}")
    if arguments.readme:
        rewrite_readme("browser", text)
    return finish(
        races(found, saved, arguments.quick), ("symphony-ui", *PEERS), arguments.json,
        chromium=chromium, points=found, saved=saved,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
