import numpy as np
import pytest
from PIL import Image
from vpsa_fair.data import Faces, read_rows
from vpsa_fair.draws import pixel_keys
from vpsa_fair.errors import DataError


def save(path, value, size=(6, 5)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, value).save(path)
    return path


@pytest.fixture
def table(tmp_path):
    for i, name in enumerate(["x/1.png", "x/2.png", "y/1.png"]):
        save(tmp_path / "imgs" / name, (i, 10, 20))
    path = tmp_path / "faces.csv"
    path.write_text(
        "\ufeffpath,id,race,gender\nx/1.png,x,A,f\nx/2.png,x,A,\ny/1.png,y,,m\n", encoding="utf-8"
    )
    return path


def test_a_table_of_files_becomes_images_identities_and_attributes(table):
    root = table.parent / "imgs"
    data = Faces.from_csv(table, root=root, identity="id", attributes=["race", "gender"])
    assert len(data) == 3
    assert data.ids == ("x/1.png", "x/2.png", "y/1.png")
    assert data.shape == (5, 6, 3)
    assert data.batch(slice(1, 3))[:, 0, 0].tolist() == [[1, 10, 20], [2, 10, 20]]
    assert data.population.names.tolist() == ["x", "y"]
    assert data.population.groups["race"].tolist() == ["A", "unknown"]
    assert data.population.groups["gender"].tolist() == ["f", "m"]
    assert data.keys == pixel_keys(data.batch(slice(0, 3)))
    assert repr(data) == "3 images of 2 identities; race: A 1, unknown 1; gender: f 1, m 1"
    some = data.take([2, 0])
    assert some.ids == ("y/1.png", "x/1.png")
    assert some.batch(slice(0, 1))[0, 0, 0].tolist() == [2, 10, 20]


def test_files_of_other_sizes_are_named_and_can_be_resized(table):
    root = table.parent / "imgs"
    save(root / "x/2.png", (1, 1, 1), (9, 5))
    data = Faces.from_csv(table, root=root, identity="id")
    with pytest.raises(DataError, match=r"x/2.png is 5 x 9, the first image is 5 x 6: give size="):
        data.batch(slice(0, 3))
    resized = Faces.from_csv(table, root=root, identity="id", size=(4, 4))
    assert resized.batch(slice(0, 3)).shape == (3, 4, 4, 3)


def test_errors_name_table_line_and_column(table):
    root = table.parent / "imgs"
    with pytest.raises(
        DataError, match=r"faces.csv has no column 'identity'; it has \['path', 'id'"
    ):
        Faces.from_csv(table, root=root)
    with pytest.raises(DataError, match=r"faces.csv, line 2: there is no file .*x/1.png"):
        Faces.from_csv(table, identity="id")
    table.write_text("path,id\nx/1.png,x\nx/2.png,\n")
    with pytest.raises(DataError, match=r"faces\.csv, line 3: 'id' is empty"):
        Faces.from_csv(table, root=root, identity="id")
    table.write_text("path,id\n")
    with pytest.raises(DataError, match="no row below its header"):
        Faces.from_csv(table, root=root, identity="id")
    table.write_bytes(b"path,id\n\xff\xfe,x\n")
    with pytest.raises(DataError, match="cannot be read as a table"):
        Faces.from_csv(table, root=root, identity="id")
    with pytest.raises(DataError, match="cannot be read as a table"):
        read_rows(root / "nowhere.csv", [])
    with pytest.raises(DataError, match=r"there is no file nowhere\.png"):
        Faces.from_paths(["nowhere.png"])


def test_arrays_of_grey_or_colour_images_are_taken_as_they_are():
    grey = np.zeros((4, 3, 2), np.uint8)
    data = Faces.from_arrays(grey, attributes={"tone": ["a", None, np.nan, "b"]})
    assert data.shape == (3, 2, 1)
    assert data.identity == ("0", "1", "2", "3")
    assert data.population.groups["tone"].tolist() == ["a", "unknown", "unknown", "b"]
    assert Faces.from_arrays(np.zeros((2, 3, 2, 3), np.uint8)).shape == (3, 2, 3)


def test_copies_of_an_image_have_one_key():
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3), dtype=np.uint8)
    images[2] = images[0]
    keys = Faces.from_arrays(images).keys
    assert keys[0] == keys[2] != keys[1]
    assert keys != Faces.from_arrays(images.reshape(3, 2, 8, 3)).keys  # the shape is part of it


@pytest.mark.parametrize(
    ("images", "options", "text"),
    [
        (np.zeros((2, 3, 3)), {}, r"must be uint8 .* got float64 \(2, 3, 3\)"),
        (np.zeros((2, 3), np.uint8), {}, r"got uint8 \(2, 3\)"),
        (np.zeros((2, 3, 3, 4), np.uint8), {}, r"1 or 3 channels .* got \(2, 3, 3, 4\)"),
        (np.zeros((0, 3, 3), np.uint8), {}, "some pixels"),
        (
            np.zeros((2, 3, 3), np.uint8),
            {"identity": ["a"]},
            "'identity' must have a label for each",
        ),
        (np.zeros((2, 3, 3), np.uint8), {"attributes": {"t": ["a"]}}, "'t' must have a label for"),
    ],
)
def test_says_which_arrays_came(images, options, text):
    with pytest.raises(DataError, match=text):
        Faces.from_arrays(images, **options)


def test_two_labels_of_an_identity_are_an_error_or_unknown():
    images = np.zeros((3, 2, 2), np.uint8)
    labels = {"tone": ["x", "y", "x"]}
    with pytest.raises(DataError, match="identity 'a' has two labels of 'tone', 'x' and 'y'"):
        _ = Faces.from_arrays(images, list("aab"), labels).population
    data = Faces.from_arrays(images, list("aab"), labels, conflicts="unknown")
    assert data.population.groups["tone"].tolist() == ["unknown", "x"]
    with pytest.raises(ValueError, match="'drop'"):
        _ = Faces.from_arrays(images, list("aab"), labels, conflicts="drop").population
