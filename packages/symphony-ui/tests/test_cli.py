"""The command line: what it writes, what it says, and how it ends."""

import os
import re
import signal
import subprocess
import sys
import urllib.request

import numpy as np
import polars as pl
import pytest
import symphony_ui as sui
from symphony_ui.cli import main


@pytest.fixture
def table(tmp_path):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(80, 6))
    vectors[9] = vectors[4]
    path = tmp_path / "table.parquet"
    frame = pl.DataFrame({"score": rng.random(80), "label": ["a", "b"] * 40})
    frame.with_columns(pl.Series("emb", vectors, dtype=pl.Array(pl.Float64, 6))).write_parquet(path)
    return path


def test_a_table_is_exported_as_one_file(table, tmp_path, capsys):
    out = tmp_path / "page.html"
    assert (
        main(["export", str(table), "-o", str(out), "--filter", "score > 0.5", "--title", "T"]) == 0
    )
    assert capsys.readouterr().out.startswith(f"{out}: ")
    page = sui.load(out)
    assert (page.title, page.rows, str(page.filter)) == ("T", 80, "score > 0.5")
    assert main(["check", str(out)]) == 0
    assert "whole; Page('T': 80 rows" in capsys.readouterr().out
    again = tmp_path / "again.html"
    assert main(["export", str(out), "-o", str(again)]) == 0
    assert again.read_bytes() == out.read_bytes()


@pytest.mark.parametrize("ending", ["parquet", "npz"])
def test_analyses_are_added_as_columns(table, tmp_path, capsys, ending):
    out = tmp_path / f"more.{ending}"
    assert main(["analyze", str(table), "--vectors", "emb", "-o", str(out)]) == 0
    assert "projection_emb_x, projection_emb_y, familiarity_emb, duplicates_emb added" in (
        capsys.readouterr().out
    )
    page = sui.Page(out)
    groups = page.frame("all")["duplicates_emb"]
    groups = groups.to_pylist() if hasattr(groups, "to_pylist") else list(groups)
    assert groups[4] == groups[9] == 0
    kinds = {placed.component.type for placed in page.layout.all()}
    assert {"scatter", "duplicates", "familiarity"} <= kinds


def test_an_npz_is_analyzed_too(tmp_path):
    path, out = tmp_path / "a.npz", tmp_path / "b.parquet"
    np.savez(path, emb=np.random.default_rng(0).normal(size=(60, 4)), name=np.array(["x"] * 60))
    assert main(["analyze", str(path), "--vectors", "emb", "-o", str(out)]) == 0
    assert pl.read_parquet(out).columns[:2] == ["name", "projection_emb_x"]


def test_a_new_component_works_at_once(tmp_path, capsys):
    assert main(["new", "Violin", "--folder", str(tmp_path)]) == 0
    run = [sys.executable, "violin.py"]
    subprocess.run(run, cwd=tmp_path, check=True, capture_output=True)
    page = sui.load(tmp_path / "violin.html")
    assert [placed.component.type for placed in page.layout.all()] == [
        "violin",
        "violin",
        "summary",
    ]
    assert main(["new", "Violin", "--folder", str(tmp_path)]) == 2
    assert "is there already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda text: text.replace('<script type="module">', '<script type="module">1;', 1),
            "script-src",
        ),
        (lambda text: text.replace("<style>", "<style>a{}", 1), "style-src"),
        (lambda text: text.replace("</body>", '<script type="module">2</script></body>'), "added"),
        (lambda text: text.replace("Content-Security-Policy", "X"), "no content policy"),
        (lambda text: text.replace("default-src 'none'", "default-src *", 1), "forbid all else"),
        (lambda text: text.replace("block:data", "block:gone"), "no block of data"),
        (lambda text: text[:5000], "no spec"),
    ],
)
def test_a_file_that_is_not_whole_is_told_apart(table, tmp_path, capsys, change, says):
    out = tmp_path / "page.html"
    main(["export", str(table), "-o", str(out)])
    before = out.read_text()
    out.write_text(change(before))
    assert out.read_text() != before
    capsys.readouterr()
    assert main(["check", str(out)]) == 1
    assert says in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["export", "nothing.csv", "-o", "x.html"], "nothing.csv is no file"),
        (["export", "{table}", "-o", "missing/x.html"], "No such file"),
        (["export", "{table}", "-o", "x.html", "--filter", "scor > 1"], 'did you mean "score"'),
        (["export", "{table}", "-o", "x.html", "--media", "score"], "COLUMN=image, audio or text"),
        (["export", "{table}", "-o", "x.html", "--media", "label=image"], "cannot be read"),
        (["export", "{table}", "-o", "x.html", "--max-mb", "0.1"], "heaviest"),
        (["analyze", "{table}", "--vectors", "score"], "vectors"),
        (["analyze", "{table}", "--vectors", "emb", "-o", "x.csv"], ".parquet or .npz"),
        (["new", "violin"], "named like Violin"),
        (["new", "Table"], "there is a component Table already"),
        (["check", "nothing.html"], "is no file"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(table, tmp_path, capsys, monkeypatch, arguments, says):
    monkeypatch.chdir(tmp_path)
    assert main([part.replace("{table}", str(table)) for part in arguments]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert says in err
    assert not (tmp_path / "x.html").exists()


@pytest.mark.parametrize("arguments", [[], ["nope"], ["view"], ["export", "a.csv"]])
def test_bad_usage_is_one_line_and_exit_2(capsys, arguments):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_table_is_viewed_live_until_it_is_interrupted(table):
    command = [sys.executable, "-m", "symphony_ui.cli", "view", str(table)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ})
    process.stdout.readline()
    url = process.stdout.readline().strip()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=[\w-]+", url)
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    assert b"symphony-page" in opener.open(url, timeout=10).read()
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 130
    process.stdout.close()


def test_help_shows_examples(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    assert "symphony-ui view data.parquet" in capsys.readouterr().out
