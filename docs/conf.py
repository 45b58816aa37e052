"""Sphinx configuration: offline, MyST and autodoc (`uv run nox -s docs`)."""

import importlib.util
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # for executed.py

project = "Tenfold"
author = "The Tenfold authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "executed"]
html_theme = "furo"
html_title = "Tenfold"
exclude_patterns = ["_build", "README.md"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
suppress_warnings = ["myst.xref_missing"]  # a README's links into the repository lead nowhere here

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_custom_sections = [("Source", "notes")]


def live_pages(app: object, error: Exception | None) -> None:
    """Write the saved page that symphony-ui's documentation shows."""
    if error is None and app.builder.format == "html":
        path = Path(__file__).parents[1] / "packages" / "symphony-ui" / "tools" / "digits.py"
        spec = importlib.util.spec_from_file_location("digits_page", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.digits().save(Path(app.outdir) / "symphony-ui" / "digits.html")


def setup(app: object) -> None:
    """Connect what is made beside the text."""
    app.connect("build-finished", live_pages)
