"""A Sphinx extension that runs the Python blocks of a page and shows what they print and draw.

A page asks for it by the comment ``<!-- executed -->``. Its blocks run in one namespace, in order,
on one thread, in an empty folder of the page's own. Behind each stand what it printed, the figures
that matplotlib has open, and the HTML files that it wrote. An error, a Python warning too, is a
warning of the build. What came of a page is kept until its text, or a source that it may import,
changes.
"""

import contextlib
import hashlib
import html
import io
import json
import os
import re
import shutil
import sys
import time
import traceback
import warnings
from pathlib import Path

ROOT = Path(__file__).parents[1]
MARK = "<!-- executed -->"
BLOCK = re.compile(r"^```python\n(.*?)^```\n", re.MULTILINE | re.DOTALL)


class BlockError(Exception):
    """A block failed; the message names it and ends with the traceback."""


def run_page(text: str, name: str, folder: Path) -> str:
    """Return the page with the results behind its blocks.

    Args:
        text: Markdown.
        name: of the page, as in ``er-ssl/tutorial``.
        folder: where figures and files are written; it is made anew.

    Raises:
        BlockError: if a block raises or warns.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    namespace: dict[str, object] = {"__name__": "__page__"}
    count = 0

    def shown(match: re.Match[str]) -> str:
        nonlocal count
        count += 1
        line = text.count("\n", 0, match.start()) + 2
        before = set(folder.glob("*.html"))
        printed = _run("\n" * (line - 1) + match[1], namespace, name, line, folder)
        parts = [match[0]]
        if printed:
            parts.append(f"```text\n{printed.rstrip()}\n```\n")
        parts += _figures(folder, count)
        for file in sorted(set(folder.glob("*.html")) - before):
            parts.append(f'```{{raw}} html\n<iframe src="{html.escape(file.name)}" title="An '
                         f'interactive page" style="width:100%;height:620px;border:1px solid '
                         f'#ddd"></iframe>\n```\n')  # fmt: skip
        return "\n".join(parts)

    return BLOCK.sub(shown, text)


def _run(code: str, namespace: dict[str, object], name: str, line: int, folder: Path) -> str:
    """What a block prints."""
    out, here, path = io.StringIO(), os.getcwd(), os.environ["PATH"]
    with contextlib.redirect_stdout(out), warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DeprecationWarning)
        os.chdir(folder)
        os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{path}"  # commands
        try:
            exec(compile(code, f"{name}.md", "exec"), namespace)
        except Exception as error:
            why = "".join(traceback.format_exception(error))
            raise BlockError(f"the block at line {line} failed:\n{why}") from error
        finally:
            os.chdir(here)
            os.environ["PATH"] = path
    return out.getvalue()


def _figures(folder: Path, block: int) -> list[str]:
    """Markdown of the open figures, which are saved and closed."""
    if "matplotlib.pyplot" not in sys.modules:
        return []
    import matplotlib.pyplot as plt

    lines = []
    for n, number in enumerate(plt.get_fignums()):
        figure = plt.figure(number)
        title = figure.get_suptitle() or next((axes.get_title() for axes in figure.axes), "")
        if not title:
            raise BlockError("a figure needs a title: it is what stands where it cannot be seen")
        path = folder / f"{block}-{n}.svg"
        with plt.rc_context({"svg.hashsalt": "tenfold"}):
            figure.savefig(path, metadata={"Date": None}, bbox_inches="tight")
        at = Path(os.path.relpath(path, ROOT / "docs")).as_posix()
        lines.append(f"![{title}](/{at})\n")
    plt.close("all")
    return lines


def key_of(text: str) -> str:
    """A digest of a page and of all sources that it may import."""
    digest = hashlib.blake2b(text.encode() + Path(__file__).read_bytes(), digest_size=8)
    sources = [*ROOT.glob("packages/*/src/**/*.py"), *ROOT.glob("integration/src/**/*.py")]
    for path in sorted(sources):
        digest.update(path.as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def kept_of(name: str) -> Path:
    """Where what came of a page is kept."""
    return ROOT / "docs" / "_build" / "executed" / name.replace("/", "-") / "page.json"


def outdated(app: object, env: object, *_: object) -> list[str]:
    """The pages to read again although their text is the same: a source has changed."""
    found = []
    for name in env.found_docs:
        text = Path(env.doc2path(name)).read_text(encoding="utf-8")
        kept = kept_of(name)
        if MARK in text and not (
            kept.exists() and json.loads(kept.read_text())["key"] == key_of(text)
        ):
            found.append(name)
    return found


def on_source(app: object, name: str, source: list[str]) -> None:
    """Run a page that asks for it, unless what came of it is kept."""
    from sphinx.util import logging

    if MARK not in source[0]:
        return
    kept, key = kept_of(name), key_of(source[0])
    folder = kept.parent
    if kept.exists() and (found := json.loads(kept.read_text()))["key"] == key:
        source[0] = found["text"]
        return
    import matplotlib
    import torch

    matplotlib.use("svg")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    start = time.process_time()
    try:
        source[0] = run_page(source[0], name, folder)
    except BlockError as error:
        logging.getLogger(__name__).warning("%s", error, location=name)
        return
    finally:
        torch.set_num_threads(threads)
    part = kept.with_suffix(".part")
    part.write_text(json.dumps({"key": key, "text": source[0]}))
    os.replace(part, kept)
    print(f"{name}: {time.process_time() - start:.1f} s of one core", file=sys.stderr)


def copy_files(app: object, error: Exception | None) -> None:
    """Put the HTML files that pages wrote beside them."""
    if error is None and app.builder.format == "html":
        for name in app.env.found_docs:
            for file in kept_of(name).parent.glob("*.html"):
                target = Path(app.outdir) / Path(name).parent / file.name
                shutil.copyfile(file, target)


def setup(app: object) -> dict[str, bool]:
    """Connect it."""
    app.connect("env-get-outdated", outdated)
    app.connect("source-read", on_source)
    app.connect("build-finished", copy_files)
    return {"parallel_read_safe": False}
