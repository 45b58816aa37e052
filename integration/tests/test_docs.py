"""The pages that the documentation runs: how they are run; that building it runs them is its own
session (`nox -s docs`).
"""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)
RUN = [path for path in PAGES if "<!-- executed -->" in path.read_text()]
NAMES = [path.relative_to(DOCS).as_posix() for path in RUN]


@pytest.fixture(scope="module")
def executed():
    spec = importlib.util.spec_from_file_location("executed", DOCS / "executed.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def block(code):
    return f"```python\n{code}\n```\n"


def test_blocks_share_one_namespace_and_what_they_print_stands_behind_them(executed, tmp_path):
    text = f"# A page\n\n{block('x = 6')}\nThen\n\n{block('print(7 * x)')}\nthe end\n"
    got = executed.run_page(text, "page", tmp_path / "page")
    assert "print(7 * x)\n```\n\n```text\n42\n```\n" in got
    assert got.count("```text") == 1
    assert got.endswith("the end\n")


def test_a_block_that_fails_or_warns_is_an_error_that_names_its_line(executed, tmp_path):
    for code in ("1 / 0", "import warnings\nwarnings.warn('careful')"):
        text = f"# A page\n\n{block('x = 1')}\n{block(code)}"
        with pytest.raises(executed.BlockError, match="block at line 8 failed") as error:
            executed.run_page(text, "page", tmp_path / "page")
        last = 8 + code.count("\n")
        assert f'page.md", line {last}' in str(error.value)


def test_figures_are_shown_by_their_title_and_need_one(executed, tmp_path):
    code = "from matplotlib import pyplot as plt\nfigure, axis = plt.subplots()\naxis.plot([1, 2])"
    titled = block(f"{code}\naxis.set_title('Two points')")
    got = executed.run_page(titled, "page", tmp_path / "page")
    assert re.search(r"!\[Two points\]\(/.*1-0\.svg\)", got)
    assert (tmp_path / "page" / "1-0.svg").read_text().startswith("<?xml")
    with pytest.raises(executed.BlockError, match="needs a title"):
        executed.run_page(block(code), "page", tmp_path / "page")
    sys.modules["matplotlib.pyplot"].close("all")


def test_files_are_written_in_the_pages_own_folder_and_pages_are_shown(executed, tmp_path):
    here = Path.cwd()
    text = block("from pathlib import Path\nPath('a.html').write_text('<p>')\nPath('b').touch()")
    got = executed.run_page(text, "page", tmp_path / "page")
    assert '<iframe src="a.html"' in got
    assert "<iframe" not in executed.run_page(block("pass"), "page", tmp_path / "page")
    assert Path.cwd() == here


def test_a_result_is_kept_until_the_page_or_a_source_changes(executed, monkeypatch, tmp_path):
    source = tmp_path / "packages" / "a" / "src" / "a.py"
    source.parent.mkdir(parents=True)
    source.write_text("x = 1")
    monkeypatch.setattr(executed, "ROOT", tmp_path)
    keys = [executed.key_of("page"), executed.key_of("page"), executed.key_of("other page")]
    source.write_text("x = 2")
    keys.append(executed.key_of("page"))
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


@pytest.mark.parametrize("path", RUN, ids=NAMES)
def test_a_page_that_runs_compiles_and_is_in_the_tree(executed, path):
    blocks = executed.BLOCK.findall(path.read_text())
    assert blocks
    assert path.read_text().count("```python") == len(blocks)
    for code in blocks:
        compile(code, str(path), "exec")
    if path.parent != DOCS:
        tree = (path.parent / "index.md").read_text()
        assert f"\n{path.stem}\n" in tree


def test_a_package_has_a_tutorial_and_a_how_to_or_neither():
    for folder in sorted(path.parent for path in DOCS.glob("*/index.md")):
        assert (folder / "tutorial.md").exists() == (folder / "how-to.md").exists(), folder
    assert "fitting-together.md" in NAMES
