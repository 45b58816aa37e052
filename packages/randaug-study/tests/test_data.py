import gzip

import numpy as np
import pytest
import torch
from randaug_study.data import Data, read_folder, read_idx


def test_reads_idx_files_zipped_or_not(tmp_path, write_idx):
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    for zipped in (True, False):
        write_idx(tmp_path / "some", array, zipped)
        assert np.array_equal(read_idx(tmp_path / "some"), array)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"PNG..", "no idx file of bytes: it starts with 50 4e 47 2e"),
        (b"", "no idx file"),
        (b"\x00\x00\x08\x03\x00\x00", "holds"),
        (b"\x00\x00\x08\x01\x00\x00\x00\x05abc", r"announces \(5,\), 5 bytes, and holds 3"),
        (gzip.compress(bytes(4000))[:-9], "cut off or damaged"),
    ],
)
def test_says_what_is_wrong_with_a_file(tmp_path, raw, text):
    (tmp_path / "bad").write_bytes(raw)
    with pytest.raises(ValueError, match=text):
        read_idx(tmp_path / "bad")


def test_a_folder_without_the_files_says_where_to_get_them(tmp_path):
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte.*apt-get download"):
        read_folder(tmp_path)


def test_a_subset_is_balanced_and_a_function_of_its_seed(tmp_path, a_folder):
    data = read_folder(a_folder(tmp_path))
    assert str(data) == "40 training and 40 test images of (1, 8, 8), 4 classes"
    x, y = data.subset(10, seed=3)
    again = data.subset(10, seed=3)
    assert torch.equal(x, again[0])
    assert torch.equal(y, again[1])
    assert torch.bincount(y).tolist() == [3, 3, 2, 2]
    assert not torch.equal(x, data.subset(10, seed=4)[0])
    whole, labels = data.subset(40, seed=0)
    assert len({image.numpy().tobytes() for image in whole}) == 40
    assert not torch.equal(labels, data.train_y)  # shuffled


def test_asks_for_images_and_labels_that_fit():
    x, y = np.zeros((4, 8, 8), np.uint8), np.arange(4)
    assert Data(x, y, x, y).train_x.shape == (4, 1, 8, 8)
    with pytest.raises(ValueError, match=r"train_x must be uint8.*float32 \(4, 8, 8\)"):
        Data(x.astype(np.float32), y, x, y)
    with pytest.raises(ValueError, match=r"test_y must hold a class from 0 for each of 4"):
        Data(x, y, x, y[:3])
    with pytest.raises(ValueError, match="need 2 of class 0, there are 1"):
        Data(x, y, x, y).subset(5, seed=0)
