import gzip
import hashlib
import json

import numpy as np
import pytest
from tenfold.data import text


def test_the_file_holds_the_lines_that_were_committed():
    lines = gzip.decompress(text.FILE.read_bytes())
    assert hashlib.sha256(lines).hexdigest() == text.SHA256
    assert text.FILE.stat().st_size < 600_000


def test_there_are_forty_speeches_in_the_order_of_their_years():
    speeches = text.speeches()
    assert [speech["year"] for speech in speeches] == list(range(1790, 1830))
    assert speeches[0]["president"] == "George Washington"


def test_another_file_is_refused(tmp_path, monkeypatch):
    other = tmp_path / "sotu.jsonl.gz"
    other.write_bytes(gzip.compress(json.dumps({"year": 1790, "text": "x"}).encode()))
    monkeypatch.setattr(text, "FILE", other)
    with pytest.raises(ValueError, match="SHA-256"):
        text.speeches()


def test_every_fifth_speech_is_held_out_and_all_read_back():
    sotu = text.sotu()
    speeches = [speech["text"] for speech in text.speeches()]
    assert sotu.read(sotu.test) == "\n".join(speeches[4::5])
    assert sotu.read(sotu.train).count("\n") == 31
    assert len(sotu.train) + len(sotu.test) == sum(map(len, speeches)) + 31 + 7
    assert int(max(sotu.train.max(), sotu.test.max())) == len(sotu.alphabet) - 1


def test_windows_are_rows_in_order_without_the_rest():
    assert text.windows(np.arange(11), 4).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    with pytest.raises(ValueError, match="between 1 and 11, got 12"):
        text.windows(np.arange(11), 12)
