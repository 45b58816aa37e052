import gzip

import numpy as np
import pytest
import torch
from duet.data import read_images
from duet.synthetic import synthetic_images
from PIL import Image

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 5, 4), np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2], np.uint8)


def idx(array):
    sizes = b"".join(n.to_bytes(4, "big") for n in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


def same(found, labels=True):
    images, classes = found
    assert images.dtype == torch.float32
    assert torch.equal(images, torch.tensor(PIXELS)[:, None].float() / 255)
    assert (classes is not None) == labels
    if labels:
        assert torch.equal(classes, torch.tensor(LABELS).long())


def test_npz_and_npy_are_read(tmp_path):
    np.savez(tmp_path / "a.npz", images=PIXELS, labels=LABELS)
    same(read_images(tmp_path / "a.npz"))
    same(read_images(tmp_path))
    np.savez(tmp_path / "a.npz", images=PIXELS / np.float64(255))
    same(read_images(tmp_path / "a.npz"), labels=False)
    np.save(tmp_path / "b.npy", PIXELS[:, None])
    same(read_images(tmp_path / "b.npy"), labels=False)


def test_idx_files_are_read_with_the_labels_beside_them(tmp_path):
    plain = tmp_path / "t10k-images-idx3-ubyte"
    plain.write_bytes(idx(PIXELS))
    same(read_images(plain), labels=False)
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(LABELS))
    same(read_images(plain))
    same(read_images(tmp_path))
    plain.unlink()
    packed = tmp_path / "t10k-images-idx3-ubyte.gz"
    packed.write_bytes(gzip.compress(idx(PIXELS)))
    same(read_images(packed), labels=False)  # the labels are looked for under the same ending


def test_a_folder_of_pictures_is_labelled_by_folder(tmp_path):
    for n, (pixels, label) in enumerate(zip(PIXELS, LABELS, strict=True)):
        folder = tmp_path / "abc"[label]
        folder.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{n}.png")
    images, labels = read_images(tmp_path)
    order = [0, 3, 1, 4, 2, 5]
    assert torch.equal(images, torch.tensor(PIXELS[order])[:, None].float() / 255)
    assert labels.tolist() == [0, 0, 1, 1, 2, 2]
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "a" / "9.png")
    with pytest.raises(ValueError, match=r"one size, got \(1, 5, 4\), \(3, 9, 9\): give --size"):
        read_images(tmp_path)
    (tmp_path / "a" / "9.png").unlink()
    assert read_images(tmp_path, size=8)[0].shape == (6, 1, 8, 8)
    (tmp_path / "a" / "bad.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"bad\.png is no picture"):
        read_images(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"images": np.zeros((3, 2))}, r"\(N, 3, H, W\), got \(3, 2\)"),
        ({"images": np.zeros((0, 3, 3))}, "got"),
        ({"images": np.zeros((3, 2, 4, 4), np.uint8)}, r"got \(3, 2, 4, 4\)"),
        ({"images": np.full((3, 4, 4), 2.0)}, "floats in 0 to 1, got 2 to 2"),
        ({"images": np.full((3, 4, 4), np.nan)}, "got nan"),
        ({"images": np.zeros((3, 4, 4), np.int32)}, "uint8 or floating images, got int32"),
        ({"images": PIXELS, "labels": LABELS[:2]}, r"must hold \(6,\) labels"),
        ({"images": PIXELS, "labels": LABELS / 2}, "got float64"),
        ({"pictures": PIXELS}, "it holds pictures, and no 'images'"),
        ({"images": np.array([{"a": 1}])}, "Object arrays cannot be loaded"),
    ],
)
def test_an_npz_of_something_else_is_refused(tmp_path, content, message):
    np.savez(tmp_path / "a.npz", **content)
    with pytest.raises(ValueError, match=message):
        read_images(tmp_path / "a.npz")


def test_broken_files_and_folders_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="is not there"):
        read_images(tmp_path / "none")
    with pytest.raises(ValueError, match="no idx3 or npz file, and no folders"):
        read_images(tmp_path)
    bad = tmp_path / "a-idx3-ubyte"
    for data, message in (
        (idx(PIXELS)[:-1], "cut off or too long: 119 bytes for 6x5x4"),
        (idx(LABELS), "must be an idx file of bytes in 3 axes"),
        (gzip.compress(idx(PIXELS))[:-9], "no gzip file"),
    ):
        bad.write_bytes(data)
        with pytest.raises(ValueError, match=message):
            read_images(bad)
    np.savez(tmp_path / "b.npz", images=PIXELS)
    with pytest.raises(ValueError, match=r"name one of a-idx3-ubyte, b\.npz"):
        read_images(tmp_path)
    (tmp_path / "c.npz").write_bytes(b"PK not a zip")
    with pytest.raises(ValueError, match=r"c\.npz is no file of images"):
        read_images(tmp_path / "c.npz")
    (tmp_path / "d.txt").write_text("x")
    with pytest.raises(ValueError, match=r"d\.txt must be \.npz"):
        read_images(tmp_path / "d.txt")


def test_the_made_pictures_stand_upright_and_come_from_their_generator():
    def draw(seed):
        return synthetic_images(400, generator=torch.Generator().manual_seed(seed))

    before = torch.random.get_rng_state()
    x, y = draw(0)
    assert torch.equal(torch.random.get_rng_state(), before)
    again, labels = draw(0)
    assert torch.equal(x, again)
    assert torch.equal(y, labels)
    assert not torch.equal(x, draw(1)[0])
    assert 0 <= float(x.min()) <= float(x.max()) <= 1
    assert sorted(y.unique().tolist()) == list(range(6))
    for kind in range(6):
        mean = x[y == kind].mean(0)
        for turns in (1, 2, 3):  # no turn maps a class on itself
            assert float((mean.rot90(turns, (1, 2)) - mean).square().sum()) > 1
        assert float((mean.flip(2) - mean).square().sum()) > 1
    with pytest.raises(ValueError, match="at least 1, got 0"):
        synthetic_images(0, generator=torch.Generator())
