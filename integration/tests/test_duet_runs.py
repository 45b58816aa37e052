import numpy as np
import pytest
import torch
from tenfold.data.images import fashion_mnist
from tenfold.duet_runs import (
    FEATURES,
    TURN,
    Recipe,
    by_angle,
    grey,
    hidden,
    made,
    pixels,
    read,
    read_both,
    read_relative,
    readouts,
    train,
    transfer,
    turned,
    two_factors,
)
from torch import nn


@pytest.fixture(scope="module")
def split():
    full = fashion_mnist(64)
    return type(full)("tiny", full.train, full.train_labels, full.test[:60],
                      full.test_labels[:60], full.classes)  # fmt: skip


class Knows(nn.Module):
    """Features whose marginal is the target of a parameter that was given."""

    def __init__(self, p):
        super().__init__()
        self.p = p

    def features(self, x):
        rows = TURN.target(self.p[: len(x)]).log()
        return rows.repeat_interleave(FEATURES // 8, dim=1)


def test_all_methods_of_a_seed_begin_with_one_encoder_and_leave_the_global_generator():
    before = torch.random.get_rng_state()
    methods = {kind: made(kind, 0) for kind in ("duet", "simclr", "essl", "untrained")}
    assert torch.equal(torch.random.get_rng_state(), before)
    first = methods["duet"].encoder.state_dict()
    for method in methods.values():
        assert all(torch.equal(first[n], x) for n, x in method.encoder.state_dict().items())
    other = made("duet", 1).encoder.state_dict()
    assert not torch.equal(first["body.0.weight"], other["body.0.weight"])
    assert methods["duet"].loss.weights == {"rotation": 500.0}
    with pytest.raises(ValueError, match="one of duet, simclr, essl, untrained, got 'byol'"):
        made("byol", 0)


def test_the_angle_is_read_with_its_sign(split):
    x = pixels(split.test)
    _, p = turned(x, seed=17)
    exact, off = Knows(p), Knows((p + 1 / 8) % 1)
    assert float(TURN.distance(read(exact, x), p).max()) < 1e-3
    found = readouts(off, split)
    assert found["readout"]["median"] == pytest.approx(45, abs=0.1)
    assert all(row[2] == pytest.approx(45, abs=0.1) for row in found["angles"])
    assert set(found["angles_by_class"]) <= set(split.classes)


def test_quartiles_are_taken_in_each_sector():
    p = torch.tensor([0.01, 0.02, 0.03, 0.99])
    rows = by_angle(p, torch.tensor([1.0, 2.0, 3.0, -7.0]))
    assert rows == [[-172.5, 1.5, 2.0, 2.5], [172.5, -7.0, -7.0, -7.0]]


def test_grey_keeps_grey_and_weighs_colours_as_the_eye_does():
    flat = torch.full((1, 3, 2, 2), 0.4)
    torch.testing.assert_close(grey(flat), torch.full((1, 1, 2, 2), 0.4))
    green = torch.zeros(1, 3, 1, 1)
    green[:, 1] = 1
    assert float(grey(green)) == pytest.approx(0.587)


def test_hidden_angles_are_those_of_their_seed(split):
    x = pixels(split.test)
    assert torch.equal(hidden(x, 1), turned(x, 1)[0])
    assert not torch.equal(hidden(x, 1), hidden(x, 2))


def test_a_common_turn_does_not_count_between_two_views(split):
    x = pixels(split.test)
    views = [turned(x, seed)[1] for seed in (24, 25)]

    class Both(nn.Module):
        """Reads each view rightly up to a turn of its own, the same for both."""

        def __init__(self):
            super().__init__()
            self.calls = 0

        def features(self, x):
            own = torch.linspace(0, 0.9, len(x))
            p = (views[self.calls % 2] + own) % 1
            self.calls += 1
            return TURN.target(p).log().repeat_interleave(FEATURES // 8, dim=1)

    found = read_relative(Both(), x)
    assert found["relative"]["mean"] < 0.1
    assert found["absolute"]["mean"] > 60


def test_two_factors_are_trained_and_read(split):
    method = made("duet", 0, factors=two_factors(), weights={"rotation": 5.0, "hflip": 0.0})
    terms = train(method, pixels(split.train), Recipe(2, 2, 16), 0)
    assert set(terms) == {"loss", "content", "rotation", "hflip"}
    found = read_both(method, split)
    assert found["hflip"][1] == 60
    assert sum(n for _, n in found["hflip by class"].values()) == 60
    assert found["rotation"]["mean"] > 0


def test_features_of_grey_images_are_probed_on_grey_crops_and_those_of_colour_on_colour():
    for channels in (1, 3):
        found = transfer(made("simclr", 0, channels=channels).eval(), train=40, test=20)
        assert found["photograph"][1] == 20
        assert np.isfinite([found[name]["mean"] for name in ("ridge", "readout")]).all()
