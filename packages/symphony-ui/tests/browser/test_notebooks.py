"""The same page in JupyterLab and in marimo, each a real server with a real kernel."""

import hashlib
import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
from symphony_ui.components import Scatter, Summary
from symphony_ui.page import Page

pytestmark = pytest.mark.browser

MODULE = """
import numpy as np
from symphony_ui.components import Component, Scatter, Summary
from symphony_ui.page import Page

rng = np.random.default_rng(3)
DATA = {
    "x": rng.normal(size=400).round(3),
    "y": rng.normal(size=400).round(3),
    "label": [("cat", "dog", "<b>owl</b>")[k % 3] for k in range(400)],
}


class Dots(Component):
    esm = "dots.js"
    column: str
    below: float


layout = [[Summary(), Scatter("x", "y", color="label")], [Dots("y", 0.25)]]
page = Page(DATA, layout, title="Four hundred")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory, module_text):
    folder = tmp_path_factory.mktemp("notebook")
    (folder / "audit.py").write_text(MODULE)
    (folder / "dots.js").write_text(module_text)
    return folder


@pytest.fixture(scope="module")
def data(folder):
    """The table that the kernel shows."""
    names = {}
    exec(MODULE.split("class Dots")[0], names)
    return names["DATA"]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def started(command, folder, url, environment):
    """A server in a process of its own, once it answers."""
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=folder, env={**os.environ, **environment}, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
    for _ in range(600):
        try:
            with urllib.request.urlopen(url, timeout=5):
                return process
        except (urllib.error.URLError, OSError):
            if process.poll() is not None:
                break
            time.sleep(0.1)
    process.kill()
    pytest.fail(f"the server did not start: {(folder / 'server.log').read_text()[-2000:]}")


def stopped(process):
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


CELLS = (
    "from audit import page\nfrom audit import DATA\ntold = []\n"
    "unsubscribe = page.on_change(lambda p: told.append(int(p.visible.sum())), ['brushes'])\npage",
    "import json\nprint('ANSWER', json.dumps([page.state.to_json()['brushes'], "
    "int(page.visible.sum()), page.selected.tolist(), told]))",
    "page.filter = 'label == \"cat\"'",
    "page.view('scatter-1')",
)


@pytest.fixture(scope="module")
def lab(folder):
    """JupyterLab on a notebook of these cells."""
    cells = [
        {
            "cell_type": "code",
            "id": f"cell-{k}",
            "metadata": {},
            "source": text,
            "outputs": [],
            "execution_count": None,
        }
        for k, text in enumerate(CELLS)
    ]  # fmt: skip
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    notebook = {"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    (folder / "audit.ipynb").write_text(json.dumps(notebook))
    port, token = free_port(), secrets.token_hex(16)
    private = {f"JUPYTER_{name}_DIR": str(folder / name) for name in ("CONFIG", "DATA", "RUNTIME")}
    private["JUPYTERLAB_SETTINGS_DIR"] = str(folder / "settings")
    news = folder / "settings" / "@jupyterlab" / "apputils-extension"
    news.mkdir(parents=True)
    (news / "notification.jupyterlab-settings").write_text('{"fetchNews": "false"}')
    command = [
        sys.executable, "-m", "jupyterlab", "--allow-root", "--no-browser", f"--port={port}",
        f"--ServerApp.root_dir={folder}", f"--IdentityProvider.token={token}",
        "--LabApp.check_for_updates_class=jupyterlab.handlers.announcements.NeverCheckForUpdate",
    ]  # fmt: skip
    base = f"http://127.0.0.1:{port}"
    process = started(command, folder, f"{base}/api?token={token}", private)
    yield f"{base}/lab/tree/audit.ipynb?token={token}"
    stopped(process)


def run_cell(seen, k):
    """Runs a cell and waits until the kernel has."""
    cell = seen.page.locator(".jp-Notebook .jp-CodeCell").nth(k)
    cell.scroll_into_view_if_needed()
    cell.locator(".cm-content").click()
    seen.page.keyboard.press("Control+Enter")
    prompt = cell.locator(".jp-InputPrompt")
    seen.until(lambda: (prompt.text_content() or "").strip("[]: ").isdigit())
    return cell


def answer(seen):
    """What Python has after the browser's changes: brushes, visible, selected, what it was told."""
    cell = run_cell(seen, 1)
    text = cell.locator(".jp-OutputArea-output", has_text="ANSWER").text_content()
    return json.loads(text.split("ANSWER", 1)[1])


def checksum(seen):
    """Of the scatter's pixels, at a size that all hosts give it."""
    seen.view("scatter-1").evaluate("e => (e.style.cssText += ';width:500px;flex:none')")
    canvas = seen.view("scatter-1").locator("canvas[data-drawn]")
    seen.until(lambda: canvas.evaluate("e => e.width") in range(400, 501))
    seen.page.wait_for_timeout(200)
    pixels = canvas.evaluate("e => e.width + e.toDataURL()")
    assert len(pixels) > 2000, "some points are drawn"
    return hashlib.sha256(pixels.encode()).hexdigest()


@pytest.fixture
def saved(data, tmp_path):
    """The page as a file."""
    layout = [[Summary(), Scatter("x", "y", color="label")]]
    return Page(data, layout).save(tmp_path / "page.html").as_uri()


def test_the_live_page_draws_what_the_saved_one_draws(visit, saved, data):
    with Page(data, [[Summary(), Scatter("x", "y", color="label")]]).serve() as server:
        assert checksum(visit(server.url)) == checksum(visit(saved))


def test_jupyterlab_shows_the_page_and_the_next_cell_reads_it(visit, lab, data, saved):
    seen = visit(lab, ready=".jp-Notebook .jp-CodeCell .cm-content")
    seen.page.locator("#jp-main-statusbar").get_by_text("| Idle").wait_for()
    first = run_cell(seen, 0)
    shown = first.locator("[data-ready=true]")
    shown.wait_for()
    seen.wait_visible(400)
    assert shown.locator("b b, .sym-bar-name b").count() == 0
    assert "<b>owl</b>" in shown.text_content()

    assert checksum(seen) == checksum(visit(saved)), "the same points in both hosts"
    said = len(seen.frames)
    seen.drag(first.locator('svg[data-column="x"]'), (0.3, 0.5), (0.6, 0.5))
    seen.until(lambda: seen.visible() != 400)
    brush = check_brush(seen, answer(seen), data)
    # the change itself, and that the kernel is busy with it and idle again
    assert 1 <= sum("comm_msg" in frame for frame in seen.frames[said:]) <= 3
    first.get_by_role("button", name="Select visible").first.click()
    seen.until(lambda: first.locator(".sym-selection b").count())
    _, visible, selected, told = answer(seen)
    assert selected == np.flatnonzero(brush).tolist()
    assert told == [visible], "one message for one change"

    second = run_cell(seen, 3)
    second.locator("canvas[data-drawn]").wait_for()
    assert second.locator(f"canvas[data-drawn='{visible}']").count() == 1
    first.locator('svg[data-column="x"]').focus()
    seen.page.keyboard.press("Escape")
    second.locator("canvas[data-drawn='400']").wait_for()
    run_cell(seen, 2)
    cats = data["label"].count("cat")
    seen.wait_visible(cats)
    second.locator(f"canvas[data-drawn='{cats}']").wait_for()
    first.locator('[data-view="dots-1"] button').click()
    both = (np.array(data["label"]) == "cat") & (data["y"] < 0.25)
    seen.wait_visible(int(both.sum()))
    assert answer(seen)[1] == both.sum()


def check_brush(seen, found, data):
    """That Python's brush is the browser's, and keeps the rows that numpy says; which they are."""
    brushes, visible, _, _ = found
    ((op, name, lo, hi),) = brushes.values()
    keep = (data["x"] >= lo) & (data["x"] < hi)
    assert (op, name) == ("bin", "x")
    assert 0 < keep.sum() < 400
    assert visible == keep.sum()
    seen.wait_visible(visible)
    return keep


APP = """
import marimo

app = marimo.App()


@app.cell
def _():
    import json
    import marimo as mo
    from audit import page
    return json, mo, page


@app.cell
def _(page):
    page
    return


@app.cell
def _(mo):
    read = mo.ui.run_button(label="Read")
    cats = mo.ui.run_button(label="Cats")
    mo.hstack([read, cats])
    return cats, read


@app.cell
def _(cats, page):
    if cats.value:
        page.filter = 'label == "cat"'
    return


@app.cell
def _(json, mo, page, read):
    brushes = page.state.to_json()["brushes"]
    found = [brushes, int(page.visible.sum()), page.selected.tolist(), []]
    mo.plain_text("ANSWER" + json.dumps(found)) if read.value else None
    return


if __name__ == "__main__":
    app.run()
"""


@pytest.fixture(scope="module")
def marimo(folder):
    """The app in marimo's own server."""
    (folder / "app.py").write_text(APP)
    port = free_port()
    command = [
        sys.executable, "-m", "marimo", "-q", "run", "app.py", "--headless", "--no-token",
        f"--port={port}",
    ]  # fmt: skip
    home = {"XDG_CONFIG_HOME": str(folder / "config"), "XDG_STATE_HOME": str(folder / "state")}
    base = f"http://127.0.0.1:{port}"
    process = started(command, folder, base, home)
    yield base
    stopped(process)


def marimo_answer(seen):
    seen.page.get_by_role("button", name="Read").click()
    text = seen.page.get_by_text("ANSWER").text_content()
    return json.loads(text.split("ANSWER", 1)[1])


def test_marimo_shows_the_page_and_the_next_cell_reads_it(visit, marimo, data):
    seen = visit(marimo)
    seen.wait_visible(400)
    seen.drag(seen.page.locator('svg[data-column="x"]'), (0.3, 0.5), (0.6, 0.5))
    seen.until(lambda: seen.visible() != 400)
    seen.until(lambda: marimo_answer(seen)[0])  # Python hears of it a moment later
    keep = check_brush(seen, marimo_answer(seen), data)
    seen.page.get_by_role("button", name="Select visible").first.click()
    seen.until(lambda: seen.page.locator(".sym-selection b").count())
    seen.until(lambda: marimo_answer(seen)[2] == np.flatnonzero(keep).tolist())
    seen.page.locator('[data-view="dots-1"] button').click()
    both = keep & (data["y"] < 0.25)
    seen.wait_visible(int(both.sum()))
    seen.page.get_by_role("button", name="Cats").click()
    all_three = both & (np.array(data["label"]) == "cat")
    seen.wait_visible(int(all_three.sum()))
    seen.until(lambda: marimo_answer(seen)[1] == all_three.sum())
