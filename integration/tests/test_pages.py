"""Group 6 of the suite: every package's tables are pages, and the tour's page is whole."""

import os
import shutil

import numpy as np
import pytest
import symphony_ui as sui
import torch
from playwright.sync_api import sync_playwright
from tenfold.page import Entry, write_page
from tenfold.station import Explorer, Images, Lines, Series, StationResult

pytestmark = pytest.mark.browser
CHROMIUM = (
    os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail("no Chromium here: CI must have one")
        pytest.skip("no Chromium here: install it, or name it in CHROMIUM")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser):
    """Opens a file without a network; the page, and what it complained of or asked for."""
    context = browser.new_context(offline=True)
    wrong = []

    def go(path):
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda m: wrong.append(m.text) if m.type in ("error", "warning") else 0)
        asked = []
        page.on("request", lambda r: asked.append(r.url))
        page.goto(path.as_uri())
        page.wait_for_selector('[data-ready="true"]')
        return page, lambda: (
            wrong,
            [url for url in asked if not url.startswith(("blob:", "data:"))],
        )

    yield go
    context.close()


def tables():
    """One result with ``to_table()`` of every package that has some."""
    import act_steer
    import duet
    import ema_scaling
    import er_ssl
    import homssl
    import vpsa_fair

    z1, z2 = torch.randn(2, 32, 8, generator=torch.Generator().manual_seed(0))
    parabola = ema_scaling.Parabola()
    curves = [[{"samples": n, "y": seed + n / 9} for n in range(9)] for seed in range(3)]
    vectors = np.random.default_rng(0).normal(size=(60, 4))
    labels = ["a", "b", "c"] * 20
    group = homssl.Cyclic(4)
    net, x = homssl.group_convnet(group, widths=(2, 3)), torch.randn(4, 1, 8, 8)
    drawn = torch.Generator().manual_seed(0)
    turn = duet.rotation()
    model = duet.Duet(duet.ConvNet(1, features=32), [turn], view=duet.ParamView([turn])).eval()
    pictures, decoder = torch.rand(6, 1, 12, 12), duet.Decoder(32, 1, 12)
    report = duet.equivariance_report(model, pictures, turn, decoder=decoder, generator=drawn)
    shift = act_steer.LinearTransport.fit(z1, z2)
    correct = np.arange(240).reshape(60, 4) % 7 < [[6, 5, 4, 3]]
    audit = vpsa_fair.item_response(correct, [0, 1, 2, 4], labels)
    return {
        "act-steer maps": act_steer.Steering({"layers.0": shift, "layers.1": shift}).report(),
        "act-steer quality": act_steer.quality(shift, z1, z2),
        "duet loss": model.step(pictures, generator=drawn),
        "duet output": model(pictures),
        "duet view": model.view(pictures, drawn),
        "duet report": report,
        "duet grid": duet.controlled_grid(model, decoder, pictures, turn),
        "er-ssl": er_ssl.er_bound(z1, z2, kappa=10.0),
        "ema-scaling moments": parabola.moments(lr=0.01, decay=0.9, samples=64, kappa=4),
        "ema-scaling match": ema_scaling.compare(curves, curves, "y"),
        "homssl certificate": homssl.equivariance_error(net, x, group),
        "homssl step": homssl.HSSL(net, group)(x, generator=drawn),
        "symphony-ui duplicates": sui.duplicates(np.vstack([vectors, vectors])),
        "symphony-ui familiarity": sui.familiarity(vectors),
        "symphony-ui confusion": sui.confusion(labels, labels[::-1]),
        "symphony-ui analysis": sui.analyze({"v": vectors}, embedding="v"),
        "vpsa-fair curves": audit,
        "vpsa-fair matrix": audit.matrix(),
        "vpsa-fair targeted": audit.targeted(),
    }


@pytest.mark.parametrize("name", list(tables()))
def test_every_packages_table_is_a_page(visit, tmp_path, name):
    result = tables()[name]
    columns = result.to_table()
    made = sui.Page(result, title=name)
    assert made.rows == len(next(iter(columns.values())))
    page, complaints = visit(made.save(tmp_path / "page.html"))
    shown = page.locator("[data-visible]").first.get_attribute("data-visible")
    assert int(shown) == made.rows
    assert complaints()[0] == []


def entries():
    lines = Lines(
        "Curve", "step", "nats", [Series("a", [0, 1], [1, 2], [0, 1], [2, 3])], [("top", 3)]
    )
    images = Images("Pictures", np.zeros((2, 9, 9), np.uint8), ["one", "two"])
    table = {
        "image": np.zeros((5, 4, 4), np.uint8),
        "n": [1, 2, 3, 4, 5],
        "s": ["a", "b"] * 2 + ["a"],
    }
    layout = [
        [("Scatter", {"x": "n", "y": "n"}), ("Summary", {})],
        [("Instances", {"media": "image"})],
    ]
    result = StationResult(
        "partly", "found <this>", {"numbers": {"n": [1, 2], "x": [0.5, None]}},
        [lines, images, Explorer("Explore", table, layout)], ["a note"],
    )  # fmt: skip
    return [
        Entry("er_ssl", "it holds", result, "", 3.0),
        Entry("deeppcr", "it is fast", None, "OSError: disk\n\nTraceback", 0.0),
    ]


def test_every_tab_of_the_tour_is_drawn_without_a_complaint_or_a_request(visit, tmp_path):
    path = write_page(tmp_path / "index.html", entries(), {"seeds": 1}, pending=["duet"])
    page, complaints = visit(path)
    assert "Not run yet: duet." in page.content()
    page.get_by_role("tab", name="er-ssl").click()
    page.wait_for_selector('[data-type="instances"] img')
    assert page.locator("[data-type]").evaluate_all("all => all.map(e => e.dataset.type)")
    assert "found <this>" in page.locator("[data-type=markdown] strong").all_text_contents()
    page.locator('svg[data-column="n"]').wait_for()
    page.get_by_role("textbox", name="Filter").fill("n > 3")
    page.keyboard.press("Enter")
    page.wait_for_selector('[data-visible="2"]')
    page.get_by_role("tab", name="deeppcr").click()
    page.get_by_text("Traceback").wait_for()
    wrong, asked = complaints()
    assert wrong == []
    assert asked == [path.as_uri()]
