import warnings

import numpy as np
import pytest
from vpsa_fair.audit import Audit
from vpsa_fair.errors import DataError, ResolutionWarning
from vpsa_fair.levels import linear
from vpsa_fair.perturb import exposure, gaussian_blur, gaussian_noise, rotation
from vpsa_fair.synthetic import fisher_model, synthetic_faces
from vpsa_fair.tones import exposed
from vpsa_fair.verification import Verification


@pytest.fixture(scope="module")
def recogniser():
    return fisher_model(synthetic_faces(160, 5, seed=1), width=32)


def run(recogniser, plant):
    """64 identities of 4 images, seed 0; the recogniser never saw their shapes (seed 1)."""
    sweep = [
        gaussian_noise(linear(8, 48, 6)),
        gaussian_blur(linear(0.5, 3, 3)),
        rotation(linear(4, 12, 3)),
        exposure("up", linear(1, 3, 3)),
    ]
    data = synthetic_faces(64, 4, plant=plant)
    audit = Audit(recogniser, data, sweep, Verification(fmr=0.01))
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResolutionWarning)
        return audit.run()


def test_a_planted_disparity_that_clean_images_hide_is_found_and_ranked_first(recogniser):
    result = run(recogniser, plant=6.0)
    clean = [s for s in result.summary() if s.grouping == "camera" and s.column == "clean"]
    assert clean[0].gap <= 0.02
    first = result.targeted()[0]
    assert (first.group, first.perturbation) == ("b", "gaussian_noise")
    assert first.disparity >= 0.3
    assert first.p_adjusted < 0.01


def test_without_a_plant_no_disparity_is_significant(recogniser):
    result = run(recogniser, plant=None)
    assert min(found.p_adjusted for found in result.targeted()) > 0.05
    assert max(found.disparity for found in result.targeted()) < 0.1


def test_an_identity_is_the_same_in_any_company():
    few, many = synthetic_faces(3, 2), synthetic_faces(40, 2)
    assert (few.pixels == many.pixels[:6]).all()
    assert (synthetic_faces(3, 2, seed=1).pixels != few.pixels).any()


def test_images_of_an_identity_differ_less_than_identities():
    data = synthetic_faces(40, 2)
    pixels = data.pixels.reshape(40, 2, -1).astype(float)
    pixels -= pixels.mean(-1, keepdims=True)
    own = np.abs(pixels[:, 0] - pixels[:, 1]).mean()
    other = np.abs(pixels[:-8, 0] - pixels[8:, 1]).mean()  # of the same attributes
    assert 0 < own < 0.8 * other


def test_attributes_are_balanced_and_belong_to_identities():
    population = synthetic_faces(48, 3).population
    for labels in population.groups.values():
        assert np.unique(labels, return_counts=True)[1].tolist() == [24, 24]
    crossed = population.labels(("camera", "tone", "accessory"))
    assert np.unique(crossed, return_counts=True)[1].tolist() == [6] * 8


def test_the_plant_darkens_one_camera_and_nothing_else():
    plain, planted = synthetic_faces(8, 2), synthetic_faces(8, 2, plant=3.0)
    b = np.array(plain.attributes["camera"]) == "b"
    assert (plain.pixels[~b] == planted.pixels[~b]).all()
    assert planted.pixels[b].mean() < 0.5 * plain.pixels[b].mean()
    table = np.frombuffer(exposed(-3.0), np.uint8)
    assert (planted.pixels[b] == table[plain.pixels[b]]).all()


def test_glasses_are_drawn_on_those_who_have_them():
    data = synthetic_faces(16, 1, size=64)
    glasses = np.array(data.attributes["accessory"]) == "glasses"
    eyes = data.pixels[:, 20:40].astype(float)
    edges = np.abs(np.diff(eyes, axis=2)).mean((1, 2, 3))
    assert edges[glasses].mean() > 1.2 * edges[~glasses].mean()


def test_says_what_is_needed():
    with pytest.raises(DataError, match="got 1, 4 and 48"):
        synthetic_faces(1)
    with pytest.raises(DataError, match="more than 24 identities and 24 pixels are needed, got 4"):
        fisher_model(synthetic_faces(4, 2))
