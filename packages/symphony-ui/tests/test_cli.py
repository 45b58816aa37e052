"""The command: each subcommand as a person runs it."""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from arro3.core import Array, DataType, Table
from arro3.io import write_csv, write_ipc, write_ndjson, write_parquet
from PIL import Image
from symphony_ui import cli
from symphony_ui.book import Book
from symphony_ui.check import check
from symphony_ui.components import Component
from symphony_ui.page import Page
from symphony_ui.saved import load

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
TABLE = {"score": [0.1, 0.9, 0.5, None], "label": ["a", "b", "a", "</script>"], "n": [1, 2, 3, 4]}


def run(capsys, *arguments):
    code = cli.main([str(a) for a in arguments])
    out = capsys.readouterr()
    return code, out.out, out.err


def refused(capsys, *arguments):
    """The one line of a mistake."""
    try:
        code, out, err = run(capsys, *arguments)
    except SystemExit as error:
        code, (out, err) = error.code, capsys.readouterr()
    assert (code, out) == (2, "")
    assert err.startswith("symphony-ui")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    return err


def write(path):
    """The table as a file of the path's kind."""
    if path.suffix == ".npz":
        np.savez(path, score=np.array([0.1, 0.9, 0.5, np.nan]), label=np.array(TABLE["label"]),
                 n=np.array(TABLE["n"]))  # fmt: skip
        return path
    kinds = (DataType.float64(), DataType.utf8(), DataType.int64())
    arrays = [Array(v, type=kind) for v, kind in zip(TABLE.values(), kinds, strict=True)]
    writers = {".parquet": write_parquet, ".csv": write_csv, ".arrow": write_ipc,
               ".jsonl": write_ndjson}  # fmt: skip
    with open(path, "wb") as file:
        writers[path.suffix](Table.from_arrays(arrays, names=list(TABLE)), file)
    return path


@pytest.fixture
def table(tmp_path):
    return write(tmp_path / "scores.parquet")


@pytest.fixture
def vectors(tmp_path):
    rng = np.random.default_rng(0)
    emb = rng.normal(size=(80, 8))
    emb[1] = emb[0]
    label = np.array(["cat", "dog"])[np.arange(80) % 2]
    np.savez(tmp_path / "v.npz", emb=emb, label=label, pred=label[::-1],
             image=np.zeros((80, 4, 4), np.uint8))  # fmt: skip
    return tmp_path / "v.npz"


# export


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl", "npz", "arrow"])
def test_export_writes_a_page_of_any_table(capsys, tmp_path, ending):
    table = write(tmp_path / f"scores.{ending}")
    code, out, err = run(capsys, "export", table, "-o", tmp_path / "page.html")
    assert (code, err) == (0, "")
    assert out.startswith(f"{tmp_path / 'page.html'}: Page('scores': 4 rows, 3 columns: ")
    page = load(tmp_path / "page.html")
    assert page.title == "scores"
    assert page.frame("all")["score"] == [0.1, 0.9, 0.5, None]
    assert page.frame("all")["label"] == TABLE["label"]
    assert list(map(int, page.frame("all")["n"])) == TABLE["n"]


def test_export_takes_title_filter_groups_ids_and_kinds(capsys, table, tmp_path):
    options = ("--title", "T", "--filter", "score < 0.6", "--group-by", "label", "--id", "n",
               "--kind", "label=text")  # fmt: skip
    run(capsys, "export", table, "-o", tmp_path / "p.html", *options)
    page = load(tmp_path / "p.html")
    assert (page.title, page.id, page.group_by) == ("T", "n", ("label",))
    assert page.visible.tolist() == [True, False, True, False]
    assert [c["kind"] for c in page.engine.specs()] == ["number", "text", "number"]


def test_export_reads_media_beside_the_table_or_below_a_root(capsys, tmp_path):
    (tmp_path / "images").mkdir()
    Image.new("L", (100, 50)).save(tmp_path / "images" / "a.png")
    table, out = tmp_path / "t.csv", tmp_path / "p.html"
    below = ("--root", tmp_path / "images")
    table.write_text("file,x\na.png,1\n")
    made = ("export", table, "-o", out, "--media", "file=image")
    assert run(capsys, *made, *below, "--size", "10")[0] == 0
    raw = load(out).table.media["file"].item(0)[1]
    assert Image.open(io.BytesIO(raw)).size == (10, 5)
    table.write_text("file,x\nimages/a.png,1\n")
    assert run(capsys, *made)[0] == 0
    assert "'file', row 0" in refused(capsys, *made, *below)


def test_export_says_what_it_left_out_and_still_exports(capsys, vectors, tmp_path):
    code, _, err = run(capsys, "export", vectors, "-o", tmp_path / "p.html")
    assert code == 0
    assert "emb was left out of the page" in err
    assert [c["name"] for c in load(tmp_path / "p.html").engine.specs()] == [
        "label",
        "pred",
        "image",
    ]


def test_display_precision_makes_a_smaller_file(capsys, tmp_path):
    np.savez(tmp_path / "t.npz", x=np.random.default_rng(0).normal(size=20_000))
    for name in ("exact", "display"):
        run(
            capsys,
            "export",
            tmp_path / "t.npz",
            "-o",
            tmp_path / f"{name}.html",
            "--precision",
            name,
        )
    sizes = {name: os.path.getsize(tmp_path / f"{name}.html") for name in ("exact", "display")}
    assert sizes["exact"] - sizes["display"] > 80_000


def test_bad_exports_are_one_line_and_leave_no_file(capsys, table, tmp_path):
    out = tmp_path / "p.html"
    for arguments, message in (
        ([tmp_path / "none.parquet", "-o", out], "is no file"),
        ([tmp_path / "t.xlsx", "-o", out], "is no file"),
        ([table, "-o", out, "--filter", "scor > 1"], "score"),
        ([table, "-o", out, "--filter", "score >"], "symphony-ui"),
        ([table, "-o", out, "--id", "nothing"], "'nothing', which is no column"),
        ([table, "-o", out, "--group-by", "lable"], "label"),
        ([table, "-o", out, "--media", "label=film"], "image, audio or text, got 'film'"),
        ([table, "-o", out, "--media", "label"], "--media takes COLUMN=..., got 'label'"),
        ([table, "-o", out, "--media", "=image"], "--media takes COLUMN"),
        ([table, "-o", out, "--media", "label=image"], "'label', row 0"),
        ([table, "-o", out, "--media", "label=image", "--size", "0"], "size must be"),
        ([table, "-o", out, "--kind", "label=odd"], "odd"),
        ([table, "-o", out, "--max-mb", "0.1"], "heaviest"),
        ([table, "-o", out, "--max-mb", "0"], "--max-mb must be above 0"),
        ([table, "-o", out, "--max-mb", "nan"], "--max-mb must be above 0"),
        ([table, "-o", tmp_path / "no" / "p.html"], "no such folder"),
        ([table, "-o", tmp_path], "is a folder"),
        ([table], "-o/--output"),
        ([], "required"),
    ):
        assert message in refused(capsys, "export", *arguments), arguments
        assert not out.exists()


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl", "npz", "arrow"])
def test_a_broken_table_is_one_line(capsys, tmp_path, ending):
    path = tmp_path / f"t.{ending}"
    path.write_bytes(b"\x00\xffnot a table\n" * 3)
    assert str(path) in refused(capsys, "export", path, "-o", tmp_path / "p.html")


# analyze


def test_analyze_adds_the_columns_that_a_page_understands(capsys, vectors, tmp_path):
    options = ("--label", "label", "--pred", "pred", "--threshold", "0.999")
    made = tmp_path / "out.parquet"
    code, out, err = run(capsys, "analyze", vectors, "--vectors", "emb", "-o", made, *options)
    assert (code, err) == (0, "")
    assert str(tmp_path / "out.parquet") in out
    page = Page(tmp_path / "out.parquet")
    assert [placed.component.type for placed in page.layout.all()] == [
        "summary", "scatter", "table", "duplicates", "familiarity", "confusion", "subgroups",
    ]  # fmt: skip
    group = next(c.cells() for c in page.table.columns if c.name == "duplicates_emb")
    assert group[0] == group[1] >= 0
    assert set(group[2:]) == {-1}


@pytest.mark.parametrize("ending", ["parquet", "arrow", "feather"])
def test_what_was_analyzed_can_be_analyzed_again(capsys, vectors, tmp_path, ending):
    first = tmp_path / f"a.{ending}"
    run(capsys, "analyze", vectors, "--vectors", "emb", "-o", first)
    code, out, _ = run(capsys, "analyze", first, "--vectors", "emb", "-o", tmp_path / "b.parquet")
    assert code == 0
    assert "emb: " in out
    one, two = Page(first).engine.specs(), Page(tmp_path / "b.parquet").engine.specs()
    assert one == two


def test_lists_of_any_length_in_arrow_are_vectors_if_their_lengths_agree(capsys, tmp_path):
    rows = [
        {"v": [float(k), 1.0], "w": [1.0] * (1 + k % 2), "t": "a", "g": None if k == 3 else [0.5]}
        for k in range(20)
    ]
    table, output = tmp_path / "t.jsonl", tmp_path / "o.parquet"
    table.write_text("\n".join(map(json.dumps, rows)))
    made = ("analyze", table, "-o", output, "--vectors")
    assert run(capsys, *made, "v")[0] == 0
    output.unlink()
    for name, message in (
        ("w", "of one length, got 1 to 2"),
        ("t", "must hold vectors"),
        ("g", "without gaps"),
        ("nothing", "no column 'nothing': the table has"),
    ):
        assert message in refused(capsys, *made, name)
        assert not output.exists()


def test_bad_analyses_are_one_line(capsys, vectors, tmp_path):
    out = tmp_path / "o.parquet"
    np.savez(tmp_path / "nan.npz", emb=np.full((9, 2), np.nan))
    np.savez(tmp_path / "empty.npz", emb=np.zeros((0, 2)))
    for arguments, message in (
        ([vectors, "--vectors", "emb", "-o", tmp_path / "o.csv"], "none of .parquet"),
        ([vectors, "--vectors", "emb", "--label", "lab", "-o", out], "no column 'lab'"),
        ([vectors, "--vectors", "emb", "--components", "0", "-o", out], "components"),
        ([vectors, "--vectors", "image", "-o", out], "no column 'image'"),
        ([tmp_path / "nan.npz", "--vectors", "emb", "-o", out], "finite"),
        ([tmp_path / "empty.npz", "--vectors", "emb", "-o", out], "holds no vectors"),
        ([vectors, "--vectors", "emb", "--method", "magic", "-o", out], "invalid choice"),
        ([vectors, "-o", out], "--vectors"),
    ):
        assert message in refused(capsys, "analyze", *arguments), arguments
    assert not out.exists()


# new


def test_new_writes_a_module_and_a_class_that_work(capsys, tmp_path):
    code, out, err = run(capsys, "new", "word_cloud", "--folder", tmp_path)
    assert (code, err) == (0, "")
    assert out.split() == [str(tmp_path / "word_cloud.js"), str(tmp_path / "word_cloud.py")]
    done = subprocess.run(
        [sys.executable, "word_cloud.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    page = load(tmp_path / "word_cloud.html")
    assert [placed.component.type for placed in page.layout.all()] == ["wordcloud", "wordcloud"]
    assert not check(tmp_path / "word_cloud.html").problems


@pytest.mark.browser
@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM, reason="no Chromium here: install it, or name it in CHROMIUM")
def test_the_new_component_draws_in_a_browser(capsys, tmp_path):
    run(capsys, "new", "violin", "--folder", tmp_path)
    subprocess.run([sys.executable, "violin.py"], cwd=tmp_path, check=True, capture_output=True)
    profile, page = tmp_path / "profile", tmp_path / "violin.html"
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu",
         "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--virtual-time-budget=5000",
         f"--user-data-dir={profile}", "--dump-dom", f"file://{page}"],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    shown = done.stdout.split("<script", 1)[0]
    assert shown.count("<meter") >= 4
    assert re.search(r"<label[^>]*><meter[^>]*></meter> a: 2</label>", shown)


@pytest.mark.parametrize(
    "name",
    ["", "Violin", "a b", "../a", "a/b", "1a", "class", "_a", "é", "table"],
)
def test_names_that_are_none_are_refused(capsys, tmp_path, name):
    assert "name" in refused(capsys, "new", name, "--folder", tmp_path)
    assert not list(tmp_path.iterdir())


def test_new_overwrites_nothing(capsys, tmp_path):
    (tmp_path / "violin.py").write_text("mine")
    assert "is there already" in refused(capsys, "new", "violin", "--folder", tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["violin.py"]
    assert "no such folder" in refused(capsys, "new", "violin", "--folder", tmp_path / "none")


def test_new_goes_on_where_it_was_killed_between_its_files(capsys, tmp_path):
    assert run(capsys, "new", "violin", "--folder", tmp_path)[0] == 0
    (tmp_path / "violin.py").unlink()
    assert run(capsys, "new", "violin", "--folder", tmp_path)[0] == 0
    assert {p.name for p in tmp_path.iterdir()} == {"violin.js", "violin.py"}


# check


class Violin(Component):
    esm = "export default { render() {} }"
    column: str


@pytest.fixture
def saved(tmp_path):
    page = Page({"x": [1.0, 2.0], "t": ["a", "b"]}, [Violin("x")], title="<Two>")
    return page.save(tmp_path / "page.html")


def test_check_says_what_a_whole_page_holds(capsys, saved):
    code, out, err = run(capsys, "check", saved)
    assert (code, err) == (0, "")
    assert out == (
        f"{saved}: Page('<Two>': 2 rows, 2 columns: x, t), 1 blocks, 2 scripts under their hashes, "
        f"{os.path.getsize(saved) / 1e3:.0f} kB\n"
    )


def test_check_knows_books_too(capsys, tmp_path):
    path = Book({"a": Page({"x": [1]}), "b": Page({"y": [1]})}).save(tmp_path / "book.html")
    code, out, _ = run(capsys, "check", path)
    assert code == 0
    assert "Book('Book': a, b), 2 blocks, 1 scripts" in out


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("render() {}", "render() { }", "script 1 is not the one that its policy allows"),
        ("</body>", "<script>alert(1)</script></body>", "script 3 is not the one"),
        ("</body>", '<script type="application/json">{}</script></body>', None),
        ("<style>", "<style>a{}", "the style is not the one that its policy allows"),
        ("default-src 'none'", "default-src *", "policy allows more than what the page holds"),
        ("script-src ", "script-src 'unsafe-inline' ", "policy allows more than"),
        ("Content-Security-Policy", "Content-Policy", "0 content policies"),
        ("</body>", "<img></body>", "an element <img>, which no page has"),
        ("</body>", '<script src="x.js"></script></body>', "<script> has the attribute src"),
        ("<body>", '<body onload="x()">', "<body> has the attribute onload"),
        ('<meta charset="utf-8">', '<meta http-equiv="refresh" content="0">', "http-equiv=refresh"),
        ('id="block:data"', 'id="block:other"', "no block of data"),
        ('"symphony-spec"', '"spec"', "no spec"),
        ('"rows":2', '"rows":3', "has 2 rows"),
        ("</html>", "", "is cut short"),
    ],
)  # fmt: skip
def test_check_finds_what_is_wrong(capsys, saved, old, new, problem):
    text = saved.read_text()
    assert old in text
    saved.write_text(text.replace(old, new, 1))
    code, out, err = run(capsys, "check", saved)
    assert err == ""
    if problem is None:
        assert code == 0
    else:
        assert code == 1
        assert problem in out
        assert all(line.startswith(f"{saved}: ") for line in out.splitlines())


def test_a_policy_after_a_script_is_a_problem(saved):
    text = saved.read_text()
    meta = re.search("<meta http-equiv[^>]*>", text)[0]
    saved.write_text(text.replace(meta, "").replace("</body>", meta + "</body>"))
    assert "comes after what it should rule" in " ".join(check(saved).problems)


def test_check_looks_at_every_page_and_fails_for_one(capsys, saved, tmp_path):
    (tmp_path / "b.html").write_text("<html></html>")
    code, out, _ = run(capsys, "check", saved, tmp_path / "b.html")
    assert code == 1
    assert f"{saved}: Page" in out
    assert f"{tmp_path / 'b.html'}: " in out


def test_what_cannot_be_read_is_bad_input(capsys, tmp_path):
    (tmp_path / "a.html").write_bytes(b"\xff\xfe\xfa")
    for path in (tmp_path / "none.html", tmp_path, tmp_path / "a.html"):
        assert "cannot be read" in refused(capsys, "check", path)


# view


def test_view_serves_until_it_is_interrupted(table):
    import httpx2

    running = subprocess.Popen(
        [sys.executable, "-m", "symphony_ui.cli", "view", str(table), "--filter", "score > 0.3"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        url = running.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=\S{43}", url)
        with httpx2.Client(follow_redirects=True, trust_env=False, verify=False) as web:
            assert 'id="symphony-page"' in web.get(url).text
            spec = web.get(url.split("?")[0] + "spec").json()
        assert (spec["title"], spec["rows"]) == ("scores", 4)
        assert spec["state"]["filter"] == [">", "score", 0.3]
    finally:
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=20)
    assert (running.returncode, out, err) == (0, "", "")


def test_bad_views_are_one_line(capsys, table):
    for arguments, message in (
        (["--port", "70000"], "cannot listen on 127.0.0.1, port 70000"),
        (["--port", "x"], "invalid int value"),
        (["--host", "300.1.1.1"], "cannot listen on 300.1.1.1"),
        (["--media", "label=film"], "--media takes"),
    ):
        assert message in refused(capsys, "view", table, *arguments)


def test_view_opens_a_browser_only_when_asked(table, monkeypatch, capsys):
    asked = []

    class Stub:
        url = "http://x/"

        def wait(self):
            raise KeyboardInterrupt

        def close(self):
            asked.append("closed")

    def serve(page, **options):
        asked.append(options["open_browser"])
        return Stub()

    monkeypatch.setattr(Page, "serve", serve)
    assert run(capsys, "view", table, "--open") == (0, "http://x/\n", "")
    assert run(capsys, "view", table) == (0, "http://x/\n", "")
    assert asked == [True, "closed", False, "closed"]


# the command itself


def test_every_command_helps_with_an_example(capsys):
    for command in ("view", "export", "analyze", "new", "check"):
        with pytest.raises(SystemExit) as done:
            cli.main([command, "--help"])
        assert done.value.code == 0
        assert f"symphony-ui {command} " in capsys.readouterr().out.split("example")[1]
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    assert "check" in capsys.readouterr().out


def test_an_unknown_command_and_none_are_one_line(capsys):
    refused(capsys, "vew")
    refused(capsys)


def test_the_declared_command_is_this_one():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"symphony-ui": "symphony_ui.cli:main"}


def test_help_imports_no_numpy():
    code = "import sys, symphony_ui.cli as c\ntry: c.main(['--help'])\nexcept SystemExit: pass\n"
    code += "assert 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
