import numpy as np
import pytest
from vpsa_fair.audit import Audit
from vpsa_fair.bounding import Bounder, bound, pooled
from vpsa_fair.data import Faces
from vpsa_fair.errors import LevelError
from vpsa_fair.levels import linear, log
from vpsa_fair.perturb import contrast, gaussian_noise
from vpsa_fair.perturbation import custom
from vpsa_fair.sweep import Spent
from vpsa_fair.verification import Verification


def data(n=36):
    generator = np.random.default_rng(0)
    base = np.repeat(generator.integers(40, 216, (n // 3, 6, 6, 3)), 3, 0)
    images = (base + generator.normal(0, 8, base.shape)).clip(0, 255).astype(np.uint8)
    people = np.arange(n) // 3
    return Faces.from_arrays(images, people, {"g": [f"{p % 2}" for p in people]})


def centred(images):
    flat = images.reshape(len(images), -1) / 255
    return flat - flat.mean(1, keepdims=True)


def fade(images, level):
    """A perturbation whose response is known: at 5 and above nothing is left."""
    kept = np.arange(images[0].size).reshape(images.shape[1:]) >= images[0].size * min(level / 5, 1)
    return np.where(kept, images, np.arange(images[0].size, dtype=np.uint8).reshape(kept.shape))


@pytest.mark.parametrize("grid", [linear(1, 2, 4), linear(10, 100, 4), log(1, 3, 5)])
def test_the_range_ends_where_the_pooled_response_reaches_the_floor(grid):
    spent, seen = Spent(), []

    def embed(images):
        seen.append(len(images))
        return centred(images)

    one = custom("fade", fade, grid, version="1")
    found = bound(embed, data(), one, floor=0.75, spent=spent)
    frozen = Verification("accuracy").freeze(centred(data().pixels), data().population)

    def response(level):
        return pooled(frozen.count(centred(one(data().pixels, level))), frozen.response)

    top = found.values[-1]
    assert response(top) <= 0.75 < response(0.9 * top)
    np.testing.assert_allclose(found.positions(), grid.positions(), rtol=1e-6)
    assert found.axis == grid.axis
    assert spent.bound == sum(seen) > 0
    assert (spent.sweep, spent.selftest) == (0, 0)


def test_clean_images_are_embedded_once_for_many_perturbations():
    bounder = Bounder(centred, data(), floor=0.6)
    first = bounder.levels(gaussian_noise(linear(50, 100, 3)))
    before = bounder.spent.bound
    again = bounder.levels(gaussian_noise(linear(50, 100, 3)))
    assert first == again
    assert bounder.spent.bound == before


def test_a_range_never_leaves_the_legal_levels():
    found = bound(centred, data(), contrast("down", linear(0.1, 0.5, 3)), floor=0.51)
    assert found.values[-1] <= 1
    weak = custom("nothing", lambda x, s: x, [1.0, 2.0], bounds=(0, 16), version="1")
    assert bound(centred, data(), weak).values == (8.0, 16.0)
    audit = Audit(centred, data(), [contrast("down").at(found)], Verification("accuracy"))
    assert audit.run().counts.cells[-1].level <= 1


def test_says_which_floor_cannot_be_reached():
    with pytest.raises(LevelError, match=r"floor \(1\.0\) must be below the clean response"):
        bound(centred, data(), gaussian_noise(), floor=1.0)
    with pytest.raises(LevelError, match="precision must be between 0 and 1, got 2"):
        Bounder(centred, data(), precision=2)
