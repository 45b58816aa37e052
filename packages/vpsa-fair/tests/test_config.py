"""A TOML file becomes an audit; what it says wrong is named."""

import numpy as np
import pytest
from PIL import Image
from vpsa_fair import DataError
from vpsa_fair.config import load_callable, read_config


def text_of(place):
    return (place / "audit.toml").read_text()


def test_a_configuration_runs_and_leaves_its_files(place):
    config = read_config(place / "audit.toml")
    result = config.run()
    assert result.matrix().rows == ("a", "b")
    assert result.matrix().columns == tuple(p.name for p in config.audit.perturbations)
    assert (result.n_boot, result.min_identities, result.seed) == (40, 3, 5)
    names = {p.name for p in (place / "run").iterdir()}
    assert {"counts.npz", "result.json", "report.html", "matrix.csv", "curves.csv"} <= names
    again = read_config(place / "audit.toml")
    assert str(again.run()) == str(result)
    assert again.audit.spent.sweep == 0


def test_levels_are_a_list_or_a_range(place):
    audit = read_config(place / "audit.toml").audit
    assert [p.levels.values for p in audit.perturbations] == [(0.5, 1.0), (1.0, 4.0)]


def test_without_perturbations_all_kinds_are_meant(place):
    text = (
        text_of(place)[: text_of(place).index("[[perturbation]]")]
        + text_of(place)[text_of(place).index("[audit]") :]
    )
    (place / "audit.toml").write_text(text)
    assert len(read_config(place / "audit.toml").audit.perturbations) == 12


@pytest.mark.parametrize(
    ("protocol", "name"),
    [
        ('kind = "identification"', "Identification"),
        ('kind = "forced-choice"\nk = 3', "ForcedChoice"),
        ('kind = "classification"\nlabels = "label"', "Classification"),
        ('kind = "pairs"\ncsv = "pairs.csv"', "PairList"),
    ],
)
def test_every_protocol_has_a_kind(place, protocol, name):
    (place / "pairs.csv").write_text("a,b,same\n0,1,1\n0,2,0\n")
    old = 'kind = "verification"\nthreshold = "accuracy"'
    (place / "audit.toml").write_text(text_of(place).replace(old, protocol))
    assert type(read_config(place / "audit.toml").audit.protocol).__name__ == name


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("[model]", "[modle]", "modle"),
        ("seed = 5", "sed = 5", "'sed'"),
        ('name = "pixels"', 'precomputed = "x"', "either"),
        ("model.py:embed", "model.py:embad", "embad"),
        ("model.py:embed", "model.py:not_callable", "callable"),
        ("model.py:embed", "nothing", "module:function"),
        ("gaussian_blur", "fog", "'fog'"),
        ('direction = "down"', 'way = "down"', "way"),
        ("low = 1.0, ", "", "low, high and count"),
        ('kind = "verification"', 'kind = "guess"', "'guess'"),
        ('threshold = "accuracy"', 'threshold = "luck"', "luck"),
        ('csv = "faces.csv"', 'root = "x"', "csv"),
        ("[run]", "run = 3\n[ran]", "ran"),
        ("[model]", "[model", "no TOML"),
        ('attributes = ["tone"]', 'attributes = ["age"]', "age"),
    ],
)
def test_a_mistake_in_the_file_is_named(place, old, new, text):
    broken = (
        text_of(place).replace('csv = "faces.csv"\nroot = "images"', new, 1)
        if "csv" in old
        else (text_of(place).replace(old, new, 1))
    )
    (place / "audit.toml").write_text(broken)
    with pytest.raises(DataError, match=text):
        read_config(place / "audit.toml")


def test_precomputed_embeddings_need_no_model(place):
    rng = np.random.default_rng(0)
    (place / "vectors").mkdir()
    for name in ("clean", "gaussian_blur@0.5", "gaussian_blur@1.0"):
        np.save(place / "vectors" / f"{name}.npy", rng.random((12, 4)).astype(np.float32))
    text = text_of(place).replace('embed = "model.py:embed"', 'precomputed = "vectors"')
    text = text[: text.index('[[perturbation]]\nkind = "exposure"')] + text[text.index("[audit]") :]
    (place / "audit.toml").write_text(text)
    result = read_config(place / "audit.toml").run()
    assert result.matrix().columns == ("gaussian_blur",)


def test_a_folder_layout_takes_the_place_of_a_table(place):
    rng = np.random.default_rng(0)
    for race in ("African", "Asian"):
        for person in range(3):
            folder = place / "rfw" / race / f"m.0{person}"
            folder.mkdir(parents=True)
            for shot in range(2):
                pixels = rng.integers(0, 255, (12, 12, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"m.0{person}_000{shot}.png")
    old = 'csv = "faces.csv"\nroot = "images"\nattributes = ["tone"]'
    text = text_of(place).replace(old, 'layout = "rfw"\nroot = "rfw"')
    (place / "audit.toml").write_text(text.replace('groups = ["tone"]', 'groups = ["race"]'))
    audit = read_config(place / "audit.toml").audit
    assert len(audit.data) == 12
    assert set(audit.data.attributes["race"]) == {"African", "Asian"}
    (place / "audit.toml").write_text(text.replace('"rfw"', '"nowhere"', 1))
    with pytest.raises(DataError, match="nowhere"):
        read_config(place / "audit.toml")


def test_a_function_of_a_module_is_found():
    assert load_callable("math:sqrt")(9) == 3
