import math
from types import SimpleNamespace

import pytest
import torch
from duet import DuetMatrix, hflip, rotation, rotation4, scale
from duet.decoder import Decoder
from duet.evaluate import (
    PARTS,
    Yardsticks,
    decompose,
    equivariance_report,
    relative_error,
    start_of,
    steps_of,
)
from duet.grid import controlled_grid, to_pixels
from torch import nn

TURN = rotation()
TURN4 = rotation4()


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


class Corners(nn.Module):
    """Exactly equivariant to quarter turns: each bin sees the image from another side."""

    def __init__(self, factor=TURN4, content=3):
        super().__init__()
        torch.manual_seed(0)
        self.look = nn.Linear(25, content)
        self.matrix = DuetMatrix(4 * content, [factor])

    def features(self, x):
        sides = [x.rot90(-k, (2, 3)).flatten(1) for k in range(4)]  # of bin k
        return torch.stack([self.look(side) for side in sides], 1).flatten(1)


class Pixels(Decoder):
    """Shows the first bin, whose content is the image: made for `Copies`."""

    def __init__(self):
        nn.Module.__init__(self)

    def forward(self, z):
        return z.view(len(z), 4, 1, 5, 5)[:, 0]


class Copies(Corners):
    """All four sides of an image, as they are."""

    def __init__(self, factor=TURN4):
        super().__init__(factor, content=25)

    def features(self, x):
        return torch.stack([x.rot90(-k, (2, 3)).flatten(1) for k in range(4)], 1).flatten(1)


def images(n=20, seed=0):
    return torch.rand(n, 1, 5, 5, generator=draws(seed))


def report_of(model, factor=TURN4, **options):
    return equivariance_report(model, images(), factor, generator=draws(), **options)


def test_an_equivariant_encoder_has_no_error_and_every_yardstick_has_one():
    report = report_of(Corners())
    assert [row.amount for row in report.part("matrix")] == [90.0, 180.0]
    for row in report.rows:
        if row.what == "content":
            assert row.moved == pytest.approx(0, abs=1e-6) == row.still
            continue
        assert row.moved == pytest.approx(0, abs=1e-5)
        assert row.still > 0.1
        assert math.isnan(row.oracle)
    quarter, half = report.part("matrix")
    assert quarter.wrong > 0.1
    assert half.wrong == pytest.approx(0, abs=1e-5)  # the other way round is the same way


def test_an_encoder_that_turns_the_other_way_is_told_by_the_wrong_direction():
    class Mirrored(Corners):
        def features(self, x):
            sides = [x.rot90(k, (2, 3)).flatten(1) for k in range(4)]
            return torch.stack([self.look(side) for side in sides], 1).flatten(1)

    quarter = report_of(Mirrored()).part("matrix")[0]
    assert quarter.wrong == pytest.approx(0, abs=1e-5)
    assert quarter.moved > 0.1


def test_images_are_decoded_after_the_move_and_beside_their_yardsticks():
    report = report_of(Copies(), decoder=Pixels())
    for row in report.part("image"):
        assert row.moved == pytest.approx(0, abs=1e-9) == row.oracle
        assert row.still > 0.05
    assert report.part("image")[0].wrong > 0.05
    x, p = images(), TURN4.draw(20, generator=draws(1))
    assert x.shape == (20, 1, 5, 5)
    assert p.shape == (20,)


def test_the_readout_is_measured_at_drawn_parameters():
    class Knows(nn.Module):
        """Says the angle exactly, or moved by a given part of a turn."""

        def __init__(self, by=0.0):
            super().__init__()
            self.matrix, self.by = DuetMatrix(8, [TURN]), by

        def features(self, x):
            height, width = x.shape[-2:]
            down, right = torch.meshgrid(
                torch.arange(height) - (height - 1) / 2, torch.arange(width) - (width - 1) / 2,
                indexing="ij",
            )  # fmt: skip
            y, x_ = (x * down).sum((1, 2, 3)), (x * right).sum((1, 2, 3))
            p = (torch.atan2(-y, x_) / (2 * math.pi) + 0.5 + self.by) % 1
            return TURN.target(p).log()

    dot = torch.zeros(64, 1, 33, 33)
    dot[:, :, 14:19, 24:29] = 1  # to the right of the centre: upright is 0 degrees
    for by, low, high in ((0.0, 0, 2), (0.25, 88, 92)):
        report = equivariance_report(Knows(by), dot, TURN, generator=draws())
        assert low <= report.readout.median <= high
        assert report.part("marginal")[1].moved < 0.1 * report.part("marginal")[1].still


def test_a_finite_factor_is_set_and_both_ends_are_kept():
    factor = scale()

    class Blind(nn.Module):
        def __init__(self):
            super().__init__()
            self.matrix = DuetMatrix(8, [factor])

        def features(self, x):
            return factor.target(torch.full((len(x),), 0.5)).log()

    report = equivariance_report(Blind(), images(), factor, generator=draws())
    assert [row.amount for row in report.part("matrix")] == pytest.approx([-0.1, -0.2, -0.3])
    assert report.readout.mean == pytest.approx(0.25, abs=0.1)
    for row in report.part("marginal"):  # nothing is there to move, so to stay is right
        assert row.still == pytest.approx(0, abs=1e-5)
        assert row.moved > 0.1


def test_a_factor_of_two_values_has_no_wrong_direction():
    factor = hflip()

    class Sides(nn.Module):
        def __init__(self):
            super().__init__()
            self.matrix = DuetMatrix(2, [factor])

        def features(self, x):
            left = x[..., :2].mean((1, 2, 3)) > x[..., 3:].mean((1, 2, 3))
            return factor.target(torch.where(left, 0.25, 0.75)).log()

    x = images()
    x[..., :2] += 1  # bright on the left
    report = equivariance_report(Sides(), x, factor, generator=draws())
    (row,) = report.part("marginal")
    assert row.amount == 1.0
    assert math.isnan(row.wrong)
    assert row.moved < 0.05 < row.still
    assert report.readout.mean < 1e-3


def test_the_parts_sum_to_the_matrix_and_are_orthogonal():
    z = torch.randn(3, 8, 5, generator=draws())
    parts = decompose(z)
    assert set(parts) == set(PARTS)
    total = parts["marginal"] + parts["interaction"] + parts["content"]
    torch.testing.assert_close(total, z)
    torch.testing.assert_close(parts["content"][:, 0], z.mean(1))
    u = z.mean(2) - z.mean((1, 2))[:, None]
    torch.testing.assert_close(parts["marginal"][..., 0], u, atol=1e-6, rtol=1e-5)
    assert float(parts["interaction"].mean(1).abs().max()) < 1e-6
    assert float(parts["interaction"].mean(2).abs().max()) < 1e-6


def test_an_additive_matrix_has_no_interaction_and_a_roll_moves_its_marginal_alone():
    u, v = torch.randn(2, 8, 1, generator=draws()), torch.randn(2, 1, 5, generator=draws(1))
    before, after = decompose(u + v), decompose((u + v).roll(3, 1))
    assert relative_error(before["interaction"] + 1, torch.ones_like(u + v)) < 1e-5
    torch.testing.assert_close(after["content"], before["content"])
    torch.testing.assert_close(after["marginal"], before["marginal"].roll(3, 1))


def test_the_relative_error_is_a_mean_over_rows():
    true = torch.tensor([[3.0, 4.0], [1.0, 0.0]])
    found = torch.tensor([[3.0, 5.0], [0.0, 0.0]])
    assert relative_error(found, true) == pytest.approx((1 / 5 + 1) / 2)


@pytest.mark.parametrize(
    ("factor", "steps"),
    [
        (rotation(bins=8), [1 / 8, 1 / 4, 3 / 8, 1 / 2]),
        (rotation(bins=5), [1 / 5, 2 / 5]),
        (rotation4(bins=8), [1 / 4, 1 / 2]),
        (scale(), [1 / 8, 1 / 4, 3 / 8]),
        (hflip(), [1 / 2]),
    ],
)
def test_moves_stay_among_what_a_factor_draws(factor, steps):
    assert steps_of(factor) == pytest.approx(steps)
    for step in steps:
        start = start_of(factor, 50, step, draws())
        assert float(start.min()) >= 0
        if not factor.cyclic:
            assert float((start + step).max()) <= 1
        if not factor.cyclic and factor.values is None:
            assert float((start - step).min()) >= -1e-6
        if factor.values:
            levels = factor.normalise(torch.tensor(factor.values))
            ends = torch.cat([start, start + step])
            assert float((ends % 1 - levels[:, None]).abs().min(0).values.max()) < 1e-6


def test_a_report_reads_as_text_and_as_a_table():
    report = report_of(Copies(), decoder=Pixels())
    text = str(report)
    assert text.startswith("rotation4: 4 bins")
    assert "read off the marginal: median" in text
    assert "-" in text.splitlines()[3]
    table = report.to_table()
    assert list(table) == ["what", "amount", "moved", "still", "wrong", "oracle"]
    assert {len(column) for column in table.values()} == {10}
    assert Yardsticks("image", 45.0, 0.2, 0.4, 0.8, 0.1).ratios == (0.5, 0.25)


def test_a_method_without_a_matrix_is_read_by_one_that_is_given():
    model = SimpleNamespace(matrix=None)
    blind = Corners()
    matrix = blind.matrix
    blind.matrix = nn.Identity()
    assert report_of(blind, matrix=matrix).rows
    with pytest.raises(ValueError, match="Corners has no matrix of its own: give matrix="):
        report_of(blind)
    assert model.matrix is None


def test_a_mask_darkens_the_corners_of_all_that_is_encoded():
    seen = []

    class Watch(Corners):
        def features(self, x):
            seen.append(x)
            return super().features(x)

    report_of(Watch(), mask=True)
    assert seen
    assert all(float(x[..., 0, 0].abs().max()) == 0 for x in seen)
    seen.clear()
    report_of(Watch())
    assert all(float(x[..., 0, 0].abs().max()) > 0 for x in seen)


def test_says_what_came():
    with pytest.raises(ValueError, match=r"one of the matrix's \(rotation4\), got rotation: 8"):
        report_of(Corners(), factor=TURN)
    with pytest.raises(ValueError, match=r"up to 0.5, got 0\.7"):
        start_of(scale(), 3, 0.7, draws())


def test_the_grid_of_an_equivariant_encoder_is_the_truth():
    x = images(3)
    grid = controlled_grid(Copies(), Pixels(), x, TURN4)
    assert grid.values == (0.0, 90.0, 180.0, 270.0)
    assert grid.made.shape == grid.truth.shape == (3, 4, 1, 5, 5)
    assert float(grid.errors.max()) < 1e-9
    assert torch.equal(grid.starts, x)
    assert torch.equal(grid.truth[:, 1], x.rot90(1, (2, 3)))
    assert str(grid).startswith("3 images, 4 moves of rotation4; mean squared error by move: 0: 0")


def test_the_grid_starts_where_it_is_told_and_moves_as_it_is_told():
    x = images(2)
    start = TURN4.identity_p + 0.25
    grid = controlled_grid(Copies(), Pixels(), x, TURN4, start=start, amounts=[0.5])
    assert torch.equal(grid.starts, x.rot90(1, (2, 3)))
    assert torch.equal(grid.truth[:, 0], x.rot90(3, (2, 3)))
    assert float(grid.errors.max()) < 1e-9


def test_the_grid_of_a_range_goes_up_to_its_end():
    factor = scale()
    model = SimpleNamespace()

    class Flat(nn.Module):
        matrix = DuetMatrix(8, [factor])

        def features(self, x):
            return torch.zeros(len(x), 8)

    grid = controlled_grid(Flat(), Decoder(8, 1, 5), images(2), factor)
    assert len(grid.values) == 8
    assert grid.values[-1] == pytest.approx(-0.7)  # of the area, from all of it
    assert model is not None


def test_a_picture_has_the_truth_beneath_each_row():
    x = images(2)
    grid = controlled_grid(Copies(), Pixels(), x, TURN4, amounts=[0.25])
    picture = grid.picture()
    assert picture.shape == (2 * 2 * 5, 2 * 5)
    assert (picture[5:10, 5:] == to_pixels(x[0].rot90(1, (1, 2)))).all()
    assert (picture[:5, :5] == picture[5:10, :5]).all()
    table = grid.to_table()
    assert {len(column) for column in table.values()} == {2}
    assert table["image"] == [0, 1]
    assert table["made"][0].shape == (5, 5)
    assert to_pixels(torch.tensor([[[0.5]], [[2.0]], [[-1.0]]])).tolist() == [[[128, 255, 0]]]
