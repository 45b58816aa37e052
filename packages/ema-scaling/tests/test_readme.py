import re
from pathlib import Path

import ema_scaling
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
    for name in ema_scaling.__all__:
        assert getattr(ema_scaling, name) is not None
    assert set(dir(ema_scaling)) == set(ema_scaling.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        ema_scaling.nothing  # noqa: B018
    homes = set(ema_scaling._HOME_OF)
    assert homes == set(ema_scaling.__all__)


def test_every_public_name_is_documented():
    for name in ema_scaling.__all__:
        value = getattr(ema_scaling, name)
        assert value.__doc__, name
        if not isinstance(value, type):
            assert "Args:" in value.__doc__, name
            assert "Raises:" in value.__doc__, name
            assert "Returns:" in value.__doc__ or name.endswith("_"), name


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
