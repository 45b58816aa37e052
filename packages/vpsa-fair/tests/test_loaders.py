import pytest
from PIL import Image
from vpsa_fair.errors import DataError
from vpsa_fair.loaders import bfw, celeba, fairface, lfw, lfw_pairs, rfw


def make(root, *names):
    for place, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (place, 0, 0)).save(path)


def test_lfw_takes_identities_from_folders_and_attributes_from_a_table(tmp_path):
    root = tmp_path / "lfw"
    make(root, "Ann_A/Ann_A_0001.jpg", "Ann_A/Ann_A_0002.jpg", "Bob_B/Bob_B_0001.jpg")
    (root / "readme.txt").write_text("no image")
    (tmp_path / "people.csv").write_text("identity,tone\nAnn_A,x\n")
    data = lfw(root, attributes=tmp_path / "people.csv")
    assert data.identity == ("Ann_A", "Ann_A", "Bob_B")
    assert data.population.groups["tone"].tolist() == ["x", "unknown"]
    assert lfw(root, size=(2, 2)).batch(slice(0, 3)).shape == (3, 2, 2, 3)
    assert lfw(root).attributes == {}


def test_pair_lists_name_images_by_number(tmp_path):
    make(tmp_path / "lfw", "Ann_A/Ann_A_0001.jpg", "Ann_A/Ann_A_0002.jpg", "Bob_B/Bob_B_0001.jpg")
    data = lfw(tmp_path / "lfw")
    pairs = tmp_path / "pairs.txt"
    pairs.write_text("10\t300\nAnn_A\t1\t2\nAnn_A\t2\tBob_B\t1\n")
    assert lfw_pairs(pairs, data) == ([0, 1], [1, 2], [True, False])
    pairs.write_text("Ann_A 1 2\n")
    assert lfw_pairs(pairs, data) == ([0], [1], [True])
    for text, message in (
        ("Ann_A\t1\t9\n", "line 1: there is no image Ann_A_0009"),
        ("Ann_A\t1\t2\nAnn_A\t1\n", "line 2: no pair"),
        ("Ann_A\tone\t2\n", "'one' is no image number"),
        ("10\t300\n", "holds no pair"),
    ):
        pairs.write_text(text)
        with pytest.raises(DataError, match=message):
            lfw_pairs(pairs, data)


def test_rfw_takes_the_race_from_the_first_folder(tmp_path):
    make(
        tmp_path,
        "African/m.01/m.01_0001.jpg",
        "African/m.01/m.01_0002.jpg",
        "Asian/m.01/m.01_0001.jpg",
    )
    data = rfw(tmp_path)
    assert data.population.names.tolist() == ["African/m.01", "Asian/m.01"]
    assert data.population.groups["race"].tolist() == ["African", "Asian"]


def test_bfw_takes_ethnicity_and_gender_from_the_first_folder(tmp_path):
    make(tmp_path, "asian_females/n1/1.jpg", "white_males/n2/1.jpg", "white_males/n2/2.jpg")
    data = bfw(tmp_path)
    assert data.population.groups["ethnicity"].tolist() == ["asian", "white"]
    assert data.population.groups["gender"].tolist() == ["females", "males"]
    make(tmp_path, "other/n3/1.jpg")
    with pytest.raises(DataError, match="other must be named ETHNICITY_GENDER"):
        bfw(tmp_path)


def test_celeba_joins_identities_and_attributes_to_the_images_that_are_there(tmp_path):
    make(tmp_path / "img_align_celeba", "000001.jpg", "000002.jpg", "000004.jpg")
    (tmp_path / "identity_CelebA.txt").write_text(
        "000001.jpg 7\n000002.jpg 7\n000003.jpg 8\n000004.jpg 9\n"
    )
    table = tmp_path / "list_attr_celeba.txt"
    table.write_text(
        "4\nMale Young\n000001.jpg  1 -1\n000002.jpg -1 -1\n000003.jpg 1 1\n000004.jpg -1 1\n"
    )
    data = celeba(tmp_path, attributes=["Male", "Young"])
    assert data.identity == ("7", "7", "9")
    assert data.population.groups["Young"].tolist() == ["no", "yes"]
    assert data.population.groups["Male"].tolist() == ["unknown", "no"]
    with pytest.raises(DataError, match="identity '7' has two labels of 'Male'"):
        _ = celeba(tmp_path, conflicts="error").population
    with pytest.raises(DataError, match=r"no attribute 'Bald'; it has \['Male', 'Young'\]"):
        celeba(tmp_path, attributes=["Bald"])
    table.write_text("1\nMale Young\n000001.jpg 1\n")
    with pytest.raises(DataError, match=r"line 3: '000001\.jpg 1' does not fit the header"):
        celeba(tmp_path)
    (tmp_path / "identity_CelebA.txt").write_text("000001.jpg\n")
    with pytest.raises(DataError, match=r"identity_CelebA.txt, line 1"):
        celeba(tmp_path)


def test_fairface_has_no_identities(tmp_path):
    make(tmp_path, "val/1.jpg", "val/2.jpg")
    (tmp_path / "fairface_label_val.csv").write_text(
        "file,age,gender,race,service_test\nval/1.jpg,3-9,Male,East Asian,True\n"
        "val/2.jpg,50-59,Female,Indian,False\n"
    )
    data = fairface(tmp_path)
    assert data.identity == ("val/1.jpg", "val/2.jpg")
    assert data.population.groups["race"].tolist() == ["East Asian", "Indian"]
    with pytest.raises(DataError, match="has no column 'tone'"):
        fairface(tmp_path, attributes=["tone"])


@pytest.mark.parametrize("loader", [lfw, rfw, bfw])
def test_an_empty_folder_says_what_was_looked_for(tmp_path, loader):
    with pytest.raises(DataError, match=r"there is no .*FOLDER/IMAGE with one of \.jpg"):
        loader(tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        celeba(tmp_path)
