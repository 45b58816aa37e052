import pytest
from hypothesis import given
from hypothesis import strategies as st
from symphony_ui.analysis import exact_duplicates
from symphony_ui.errors import MediaError, SymphonyError


@given(st.lists(st.binary(max_size=2), max_size=30))
def test_items_share_a_group_where_their_bytes_are_equal(items):
    group = exact_duplicates(items)
    for i, a in enumerate(items):
        assert (group[i] == -1) == (items.count(a) == 1)
        for j, b in enumerate(items):
            if i != j:
                assert (group[i] == group[j] != -1) == (a == b)


def test_files_are_read_and_compared_with_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 3_000_000)
    (tmp_path / "b").write_bytes(b"x" * 2_999_999 + b"y")
    items = [tmp_path / "a", str(tmp_path / "b"), b"x" * 3_000_000, b""]
    assert exact_duplicates(items).tolist() == [0, -1, 0, -1]


def test_says_which_item_cannot_be_read(tmp_path):
    with pytest.raises(MediaError, match=r"items\[1\] cannot be read.*none.png"):
        exact_duplicates([b"", tmp_path / "none.png"])
    with pytest.raises(SymphonyError, match=r"items\[0\] must be bytes or a path, got int"):
        exact_duplicates([3])
    with pytest.raises(SymphonyError, match="a list of bytes or paths, got one str"):
        exact_duplicates("a.png")
