"""Make the skeleton of a package after er-ssl's: `new_package.py NAME "what a user gets"`."""

import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
HEADINGS = [
    "What it does",
    "Install",
    "In ten lines",
    "The paper, in the code",
    "How it compares",
    "Limits, and what is ours",
]
TESTS = '["pytest>=8.2", "hypothesis>=6.112", "sybil>=9"]'
CONFTEST = '''"""The examples of the README and of the docstrings are tests."""

from sybil import Sybil
from sybil.evaluators.doctest import NUMBER
from sybil.parsers.markdown import PythonCodeBlockParser
from sybil.parsers.rest import DocTestParser

readme = Sybil(parsers=[PythonCodeBlockParser()], patterns=["README.md"])
docstrings = Sybil(parsers=[DocTestParser(NUMBER)], patterns=["src/**/*.py"])
pytest_collect_file = (readme + docstrings).pytest()
'''


def write(path: Path, text: str) -> None:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def skeleton(name: str, purpose: str) -> None:
    """Write the package's files."""
    folder, module = ROOT / "packages" / name, name.replace("-", "_")
    model = (ROOT / "packages" / "er-ssl" / "pyproject.toml").read_text()
    model = re.sub(r'(?m)^description = ".*"$', f'description = "{purpose}"', model)
    model = re.sub(r"(?ms)^\[project\.(optional-dependencies|scripts|urls)\]\n.*?\n\n", "", model)
    model = re.sub(r"(?m)^test = .*$", f"test = {TESTS}", model)
    model = re.sub(r"(?m)^bench = .*$", "bench = []", model)
    write(folder / "pyproject.toml", model.replace("er-ssl", name).replace("er_ssl", module))
    sections = "\n\n".join(f"## {heading}" for heading in HEADINGS)
    write(folder / "README.md", f"# {name}\n\n{purpose}.\n\n{sections}\n")
    write(folder / "CHANGELOG.md", "# Changelog\n\n<!-- towncrier -->\n")
    write(folder / "changelog.d" / "+first.added.md", f"{purpose}.\n")
    write(folder / "conftest.py", CONFTEST)
    write(folder / "src" / module / "__init__.py", f'"""{purpose}."""\n')
    write(folder / "src" / module / "py.typed", "")
    for empty in ("tests", "benchmarks"):
        (folder / empty).mkdir(exist_ok=True)
    shutil.copy(ROOT / "LICENSE", folder / "LICENSE")


def register(name: str) -> None:
    """Name the package in the workspace's sources, in the independence contract, in integration."""
    root, module = ROOT / "pyproject.toml", name.replace("-", "_")
    text = root.read_text()
    text = text.replace(
        "[tool.uv.sources]\n", f"[tool.uv.sources]\n{name} = {{ workspace = true }}\n"
    )
    text = re.sub(r"(?m)^(root_packages|modules) = \[", rf'\1 = ["{module}", ', text)
    root.write_text(text)
    integration = ROOT / "integration" / "pyproject.toml"
    text = integration.read_text()
    integration.write_text(text.replace("dependencies = [", f'dependencies = ["{name}", ', 1))


def main() -> int:
    """Check the arguments, then write."""
    if len(sys.argv) != 3 or not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", sys.argv[1]):
        print('usage: new_package.py lower-case-name "what a user gets"', file=sys.stderr)
        return 2
    name, purpose = sys.argv[1], sys.argv[2].rstrip(".")
    if (ROOT / "packages" / name).exists():
        print(f"packages/{name} exists already", file=sys.stderr)
        return 2
    skeleton(name, purpose)
    register(name)
    print(f"packages/{name} is there; its page in docs/ and its station in integration/ are next")
    return 0


if __name__ == "__main__":
    sys.exit(main())
