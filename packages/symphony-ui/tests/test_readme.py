import re
import subprocess
import sys
from pathlib import Path

import pytest
import symphony_ui

ROOT = Path(__file__).parent.parent


def test_every_python_example_of_the_readme_is_collected(request):
    text = (ROOT / "README.md").read_text()
    fences = [text[: m.start()].count("\n") + 1 for m in re.finditer(r"^```python$", text, re.M)]
    assert fences
    if request.config.args and not any(
        Path(a.split("::")[0]).resolve() in (ROOT, *ROOT.parents) for a in request.config.args
    ):
        pytest.skip("only part of the package was asked for")
    collected = [item.name for item in request.session.items if item.path == ROOT / "README.md"]
    for line in fences:
        assert any(name.startswith(f"line:{line},") for name in collected), line


def test_the_public_names_are_all_there_and_listed():
    for name in symphony_ui.__all__:
        assert getattr(symphony_ui, name) is not None
    assert set(dir(symphony_ui)) == set(symphony_ui.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        symphony_ui.nothing  # noqa: B018
    homes = set(symphony_ui._HOME_OF)
    assert homes == set(symphony_ui.__all__)


def test_every_public_name_is_documented():
    for name in symphony_ui.__all__:
        value = getattr(symphony_ui, name)
        assert value.__doc__, name
        if not isinstance(value, type):
            assert "Args:" in value.__doc__, name


def test_importing_it_imports_neither_frames_nor_hosts():
    heavy = ("pandas", "polars", "anywidget", "IPython", "duckdb", "ibis", "sklearn", "starlette")
    code = f"import sys, symphony_ui; print([m for m in {heavy!r} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_the_readme_has_the_house_s_six_headings():
    headings = re.findall(r"^## (.*)$", (ROOT / "README.md").read_text(), re.M)
    assert headings == [
        "What it does",
        "Install",
        "In ten lines",
        "The paper, in the code",
        "How it compares",
        "Limits, and what is ours",
    ]
