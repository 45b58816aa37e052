"""What every package owes the workspace, and what must never be committed."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = sorted(path.parent for path in ROOT.glob("packages/*/pyproject.toml"))
HEADINGS = [
    "What it does",
    "Install",
    "In ten lines",
    "The paper, in the code",
    "How it compares",
    "Limits, and what is ours",
]


@pytest.fixture(scope="module")
def tracked():
    listing = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [ROOT / line for line in listing.stdout.splitlines()]


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_every_package_has_the_same_skeleton(package):
    for name in ("README.md", "LICENSE", "CHANGELOG.md", "conftest.py", "benchmarks", "tests"):
        assert (package / name).exists(), name
    module = package / "src" / package.name.replace("-", "_")
    assert (module / "py.typed").exists()
    headings = re.findall(r"(?m)^## (.*)$", (package / "README.md").read_text())
    assert headings == HEADINGS


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_every_package_is_in_the_sources_the_contract_the_docs_and_the_table(package):
    root = tomllib.loads((ROOT / "pyproject.toml").read_text())
    module = package.name.replace("-", "_")
    assert package.name in root["tool"]["uv"]["sources"]
    assert module in root["tool"]["importlinter"]["root_packages"]
    assert module in root["tool"]["importlinter"]["contracts"][0]["modules"]
    integration = tomllib.loads((ROOT / "integration" / "pyproject.toml").read_text())
    named = [re.split(r"[\[>=<; ]", line)[0] for line in integration["project"]["dependencies"]]
    assert package.name in named
    assert f"{package.name}/index" in (ROOT / "docs" / "index.md").read_text()
    assert f"packages/{package.name}/README.md" in (ROOT / "README.md").read_text()


def test_no_committed_file_names_a_registry_or_a_lock(tracked):
    hosts = ["py" + r"pi\.org", "python" + "hosted", "npm" + r"js\.(org|com)", r"deb\." + "debian"]
    pattern = re.compile("|".join(hosts).encode())
    for path in tracked:
        assert path.name != "uv.lock"
        if path.is_file() and path.suffix != ".svg":
            found = pattern.search(path.read_bytes())
            assert not found, f"{path.relative_to(ROOT)}: {found}"


def test_contributing_is_short():
    assert len((ROOT / "CONTRIBUTING.md").read_text().splitlines()) <= 60


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_the_tests_that_a_readme_names_are_there(package):
    text = (package / "README.md").read_text(encoding="utf-8")
    files = set(re.findall(r"`([a-z_/]*test_\w+\.py)`", text))
    missing = [name for name in files if not (package / "tests" / name).is_file()]
    sources = "".join(p.read_text(encoding="utf-8") for p in package.glob("tests/**/*.py"))
    names = re.findall(r"`(test_\w+)`", text)
    missing += [name for name in names if f"def {name}(" not in sources]
    assert not missing
