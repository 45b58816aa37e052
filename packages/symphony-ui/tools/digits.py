"""The page of digits that the documentation shows, and its picture.

    uv run --package symphony-ui --group test python packages/symphony-ui/tools/digits.py page.html
    uv run --package symphony-ui --group test python packages/symphony-ui/tools/digits.py --picture

The second writes page.png beside the README, from headless Chromium (CHROMIUM names another).
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import symphony_ui as sui
from PIL import Image
from sklearn.datasets import load_digits

PICTURE = Path(__file__).parents[1] / "page.png"
FLAGS = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking"


def digits() -> sui.Page:
    """The digits with the predictions of nearest class means, and what the analyses say."""
    found = load_digits()
    pixels = found.data / 16  # (1797, 64)
    train = np.arange(len(pixels)) % 2 == 0
    means = np.stack([pixels[train & (found.target == c)].mean(0) for c in range(10)])
    predicted = ((pixels[:, None] - means) ** 2).sum(2).argmin(1)
    table = {
        "image": (found.images * 15.9).astype(np.uint8),
        "label": found.target.astype(str),
        "predicted": predicted.astype(str),
        "part": np.where(train, "train", "test"),
        "ink": pixels.sum(1).round(2),
        "pixels": pixels,
    }
    columns = sui.analyze(table, embedding="pixels", label="label", pred="predicted").to_table()
    caption = ["label", "predicted"]
    page = sui.Page(
        columns,
        [
            sui.Tab(
                "Data",
                [
                    [
                        sui.Scatter(
                            "projection_pixels_x", "projection_pixels_y", color="label",
                            media="image", title="Digits, by principal components", height=330,
                        ),
                        sui.ConfusionMatrix("label", "predicted"),
                    ],
                    [
                        sui.Summary(["ink", "familiarity_pixels", "label", "part"]),
                        sui.Instances("image", caption=caption, height=230),
                    ],
                ],
            ),
            sui.Tab(
                "Quality",
                [
                    [
                        sui.Familiarity("familiarity_pixels", media="image", caption=caption),
                        sui.Duplicates("duplicates_pixels", media="image", caption=caption),
                    ],
                    [sui.Subgroups("label", "predicted", by=["part"])],
                ],
            ),
            sui.Tab("Rows", [sui.Table(["image", "label", "predicted", "part", "ink"])]),
        ],
        title="Digits",
        media={"image": sui.Image()},
    )  # fmt: skip
    page.session.put(
        sui.State.from_json(
            {**page.state.to_json(), "brushes": {"summary-1:ink": ["bin", "ink", 16, 22]}}
        )
    )
    return page


def picture(page: sui.Page, path: Path) -> None:
    """Write what headless Chromium shows of a page."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        file = page.save(Path(folder) / "page.html")
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"), args=FLAGS.split()
        )
        view = browser.new_page(viewport={"width": 1340, "height": 940})
        view.goto(file.as_uri())
        view.wait_for_selector('[data-ready="true"]')
        view.wait_for_timeout(800)
        view.screenshot(path=path)
        browser.close()
    with Image.open(path) as shot:  # 256 colours show it as well, in half the bytes
        shot.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


def main() -> int:
    """Write the page, or its picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("page", nargs="?", type=Path, help="where the HTML file goes")
    parser.add_argument("--picture", action="store_true", help=f"write {PICTURE.name}")
    arguments = parser.parse_args()
    page = digits()
    if arguments.page:
        print(page.save(arguments.page))
    if arguments.picture:
        picture(page, PICTURE)
        print(PICTURE.name, PICTURE.stat().st_size)
    return 0


if __name__ == "__main__":
    sys.exit(main())
