import re
from pathlib import Path

import deeppcr
import pytest

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
    for name in deeppcr.__all__:
        assert getattr(deeppcr, name) is not None
    assert set(dir(deeppcr)) == set(deeppcr.__all__) == set(deeppcr._HOME_OF)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        deeppcr.nothing  # noqa: B018
