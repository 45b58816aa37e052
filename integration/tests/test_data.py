import hashlib

import numpy as np
import pytest
from tenfold.data.images import FOLDER, at_scale, cifar10, fashion_mnist

PUBLISHED = {  # md5, as torchvision's FashionMNIST.resources lists them
    "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_files_are_the_published_ones_byte_for_byte(name):
    assert hashlib.md5((FOLDER / name).read_bytes()).hexdigest() == PUBLISHED[name]


def test_the_split_is_by_row_and_balanced_as_a_whole():
    split = fashion_mnist()
    assert split.train.shape == (8000, 1, 28, 28)
    assert split.test.shape == (2000, 1, 28, 28)
    counts = np.bincount(np.concatenate([split.train_labels, split.test_labels]))
    assert counts.tolist() == [1000] * 10


def test_validation_rows_are_the_last_training_rows():
    split = fashion_mnist(100)
    held = split.validation(30)
    assert np.array_equal(held.test, split.train[70:])
    assert np.array_equal(held.train_labels, split.train_labels[:70])


def fake_cifar(root, records=20):
    """CIFAR's binary layout with a few records; the label of a record is its grey level / 20."""
    folder = root / "cifar-10-batches-bin"
    folder.mkdir()
    labels = np.arange(records, dtype=np.uint8) % 10
    body = np.repeat((labels * 20)[:, None], 3072, axis=1)
    data = np.concatenate([labels[:, None], body], axis=1).tobytes()
    for name in [*(f"data_batch_{n}.bin" for n in range(1, 6)), "test_batch.bin"]:
        (folder / name).write_bytes(data)
    (folder / "batches.meta.txt").write_text("\n".join(f"class{n}" for n in range(10)) + "\n\n")
    return root


def test_reads_the_binary_layout_of_cifar(tmp_path):
    split = cifar10(fake_cifar(tmp_path))
    assert split.train.shape == (100, 3, 32, 32)
    assert np.array_equal(split.test[:, 0, 0, 0], split.test_labels * 20)
    assert split.classes[3] == "class3"


def test_says_which_cifar_file_is_cut_short(tmp_path):
    path = fake_cifar(tmp_path) / "cifar-10-batches-bin" / "data_batch_3.bin"
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ValueError, match=r"data_batch_3\.bin holds 61453 bytes"):
        cifar10(tmp_path)


def test_the_papers_scale_takes_the_users_cifar_and_the_small_one_what_is_here(tmp_path):
    assert at_scale("small", None).test.shape == (2000, 1, 28, 28)
    assert at_scale("paper", fake_cifar(tmp_path)).test.shape == (20, 3, 32, 32)
    with pytest.raises(ValueError, match="--data-root"):
        at_scale("paper", None)
    with pytest.raises(ValueError, match="small or paper, got 'large'"):
        at_scale("large", tmp_path)
