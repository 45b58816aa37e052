"""Headless Chromium for tests of what a person sees: Debian's, or what CHROMIUM names."""

import base64
import json
import os
import shutil
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, sync_playwright
from sklearn.datasets import load_digits
from symphony_ui.analysis import analyze
from symphony_ui.components import (
    Annotate,
    Choropleth,
    Compare,
    Component,
    ConfusionMatrix,
    Duplicates,
    Familiarity,
    Heatmap,
    Instances,
    Lines,
    Markdown,
    Scatter,
    Subgroups,
    Summary,
    Tab,
    Table,
    Vega,
)

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
PATIENCE = 30_000  # ms: a machine may be busy

DOTS = """
export default {
  render({ ctx, el, signal }) {
    const text = document.createElement("button");
    const { column, below } = ctx.options;
    const show = () => (text.textContent = `${ctx.visible().count} of ${ctx.rows}, ${column}`);
    const low = () => ctx.brush(["<", column, below]);
    text.addEventListener("click", low, { signal });
    ctx.subscribe(["visible"], show);
    el.append(text);
    show();
  },
};
"""


class Dots(Component):
    """A user's own component: this class and one module."""

    esm = DOTS
    column: str
    below: float


class Visit:
    """A page that is open, what it complained about and what it asked for."""

    def __init__(self, context: BrowserContext, url: str, *, ready: str | None) -> None:
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.frames: list[str] = []  # of web sockets, both ways
        self.page = context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self._on_request)
        self.page.on("websocket", self._on_socket)
        self.page.goto(url)
        if ready:
            self.page.wait_for_selector(ready)

    def _on_console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def _on_request(self, request: Any) -> None:
        if not request.url.startswith(("blob:", "data:")):
            self.requests.append(request.url)

    def _on_socket(self, socket: Any) -> None:
        for way in ("framesent", "framereceived"):
            socket.on(way, lambda frame: self.frames.append(str(frame)))

    def tab(self, name: str) -> None:
        self.page.get_by_role("tab", name=name, exact=True).click()

    def view(self, id: str) -> Locator:
        return self.page.locator(f'[data-view="{id}"]').first

    def visible(self) -> int:
        return int(self.page.locator("[data-visible]").first.get_attribute("data-visible") or -1)

    def wait_visible(self, wanted: int) -> None:
        """Waits until the page says that so many rows are visible."""
        self.page.wait_for_selector(f'[data-visible="{wanted}"]')

    @staticmethod
    def until(test: Callable[[], Any]) -> None:
        """Waits until something holds, here or in the browser."""
        end = time.monotonic() + PATIENCE / 1000
        while not test():
            if time.monotonic() > end:
                raise AssertionError("it did not come to hold")
            time.sleep(0.03)

    def drag(self, target: Locator, *shares: tuple[float, float]) -> None:
        """Drags over points of an element, given as shares of its width and height."""
        target.scroll_into_view_if_needed()
        box = target.bounding_box()
        assert box is not None
        at = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in shares]
        self.page.mouse.move(*at[0])
        self.page.mouse.down()
        for x, y in at[1:]:
            self.page.mouse.move(x, y, steps=5)
        self.page.mouse.up()

    def address_state(self) -> dict[str, Any]:
        """The state that the address holds, once it holds one that is at rest."""
        last = ""
        for _ in range(100):
            time.sleep(0.2)
            now = urlsplit(self.page.evaluate("location.href")).fragment
            if now.startswith("s=") and now == last:
                raw = base64.urlsafe_b64decode(now[2:] + "=" * (-len(now[2:]) % 4))
                return json.loads(zlib.decompress(raw, -15))
            last = now
        raise AssertionError("the address holds no state")

    def close(self) -> None:
        self.page.context.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail("no Chromium here: CI must have one")
        pytest.skip("no Chromium here: install it, or name it in CHROMIUM")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Visit]]:
    """Opens an address: offline where it is a file."""
    contexts = []

    def open_page(url: str, *, ready: str | None = "[data-ready=true]", **options: Any) -> Visit:
        options.setdefault("viewport", {"width": 1360, "height": 900})
        context = browser.new_context(offline=url.startswith("file:"), **options)
        contexts.append(context)
        return Visit(context, url, ready=ready)

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def digits() -> dict[str, Any]:
    """Scikit-learn's digits with predictions of nearest class means, and their analyses."""
    found = load_digits()
    pixels = found.data / 16  # (1797, 64)
    train = np.arange(len(pixels)) % 2 == 0
    means = np.stack([pixels[train & (found.target == c)].mean(0) for c in range(10)])
    distance = ((pixels[:, None] - means) ** 2).sum(2)  # (1797, 10)
    order = np.sort(distance, axis=1)
    rows = np.arange(len(pixels))
    score = (1 - order[:, 0] / order[:, 1]).astype(np.float32)
    score[rows % 97 == 5] = np.nan
    table = {
        "image": (found.images * 15.9).astype(np.uint8),
        "label": [NAMES[c] for c in found.target],
        "prediction": [NAMES[c] for c in distance.argmin(1)],
        "score": score,
        "ink": pixels.sum(1),
        "split": np.where(train, "train", "test"),
        "light": found.data.max(1) < 16,
        "row": rows,
        "day": np.datetime64("2024-01-01", "ms") + (rows % 200) * np.timedelta64(86_400_000, "ms"),
        "strength": (rows % 5) / 4,
        "side": np.array(["left", "right"])[(pixels[:, ::8].sum(1) > 0).astype(int)],
        "pixels": pixels,
    }
    return analyze(table, embedding="pixels", label="label", pred="prediction").to_table()


def square(name: str, west: float, east: float) -> dict[str, Any]:
    ring = [[west, 0], [east, 0], [east, 8], [west, 8], [west, 0]]
    place = {"type": "Polygon", "coordinates": [ring]}
    return {"type": "Feature", "id": name, "properties": {"name": name}, "geometry": place}


@pytest.fixture(scope="session")
def everything() -> list[Tab]:
    """A layout of every component there is, and one of the user's own."""
    regions = {
        "type": "FeatureCollection",
        "features": [square("left", 0, 4), square("right", 4, 8)],
    }
    bars = {
        "data": {"name": "table"}, "mark": "bar",
        "encoding": {"x": {"field": "label"}, "y": {"aggregate": "count"}},
    }  # fmt: skip
    points = "projection_pixels_x", "projection_pixels_y"
    caption = ["label", "prediction"]
    return [
        Tab("Data", [
            [Summary(), Scatter(*points, color="label", media="image")],
            [Instances(media="image", caption=caption)],
            [Table()],
        ]),
        Tab("Quality", [
            [Duplicates("duplicates_pixels", media="image", caption=["label"]),
             Familiarity("familiarity_pixels", media="image", caption=["label"])],
            [Annotate(labels=["good", "bad"], media="image", caption=["label"])],
        ]),
        Tab("Model", [
            [ConfusionMatrix("label", "prediction"),
             Subgroups("label", "prediction", by=["split", "light"])],
            [Heatmap("split", "label", value="score")],
        ]),
        Tab("More", [
            [Lines("strength", "score", by=["split"]), Choropleth("side", regions)],
            [Compare(["image", "label"], caption=["score"], slider="strength"),
             Markdown("# Notes\n\nA *saved* page, **offline**.")],
            [Vega(bars), Dots("score", 0.25)],
        ]),
    ]  # fmt: skip


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core."""
    import axe_playwright_python

    return (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()


@pytest.fixture(scope="session")
def module_text() -> str:
    """The module of ``Dots``."""
    return DOTS


@pytest.fixture
def dots() -> type[Dots]:
    return Dots
