"""`picture.py PAGE OUT`: the first screen of a page, as PNG, for the README."""

import os
import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

SIZE = {"width": 1200, "height": 860}
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def main(page: str, out: str) -> int:
    """Open the page without a network, wait until it is drawn, and write what is seen."""
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        print("no Chromium here: install it, or name it in CHROMIUM", file=sys.stderr)
        return 2
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        context = browser.new_context(offline=True, viewport=SIZE)
        tab = context.new_page()
        tab.goto(Path(page).resolve().as_uri())
        tab.wait_for_selector('[data-ready="true"]')
        tab.screenshot(path=out)
        browser.close()
    print(f"{out}: {Path(out).stat().st_size // 1000} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
