import pytest
import torch
from homssl import Cyclic, Dihedral, Product, Scale, Translation, parse_group
from hypothesis import given
from hypothesis import strategies as st

SMALL = [
    Cyclic(1),
    Cyclic(2),
    Cyclic(4),
    Dihedral(1),
    Dihedral(2),
    Dihedral(4),
    Cyclic(8, allow_approximate=True),
    Dihedral(3, allow_approximate=True),
    Translation((3, 4)),
    Product(Cyclic(4), Translation((3, 3))),
    Product(Cyclic(4), Translation((2, 2))),
    Product(Cyclic(2), Translation((2, 3))),
    Product(Dihedral(4), Translation((3, 3))),
]
EXACT = [group for group in SMALL if group.exact]
each = pytest.mark.parametrize("group", SMALL, ids=str)
each_exact = pytest.mark.parametrize("group", EXACT, ids=str)


def images(group, draw, batch=2):
    height, width = group.grid or (4, 4)
    return draw(batch, 2, 2 * height, 2 * width)


def features(group, draw, batch=2):
    height, width = group.grid or (4, 4)
    return draw(batch, 3, group.axis, height, width)


@each
def test_the_table_is_that_of_a_group(group):
    e = group.elements()
    table = group.compose(e[:, None], e[None])
    assert all(sorted(row.tolist()) == e.tolist() for row in table)  # closed, and a Latin square
    assert all(sorted(column.tolist()) == e.tolist() for column in table.T)
    assert torch.equal(table[0], e)
    assert torch.equal(table[:, 0], e)
    left = group.compose(table[:, :, None], e)
    right = group.compose(e[:, None, None], table[None])
    assert torch.equal(left, right)
    assert not group.compose(e, group.inverse(e)).any()
    assert not group.compose(group.inverse(e), e).any()


@each_exact
def test_images_are_moved_by_a_homomorphism_to_the_bit(group, draw):
    x = images(group, draw, 1)
    assert torch.equal(group.act(x, 0), x)
    for a in group.generators:
        moved = group.act(x, a)
        assert torch.equal(group.act(moved, int(group.inverse(torch.tensor(a)))), x)
        for b in group.generators:
            ab = int(group.compose(torch.tensor(a), torch.tensor(b)))
            assert torch.equal(group.act(group.act(x, b), a), group.act(x, ab))


@each_exact
def test_features_are_moved_by_a_homomorphism_to_the_bit(group, draw):
    z = features(group, draw)
    assert torch.equal(group.act_on_features(z, 0), z)
    for a in group.generators:
        for b in group.generators:
            ab = int(group.compose(torch.tensor(a), torch.tensor(b)))
            twice = group.act_on_features(group.act_on_features(z, b), a)
            assert torch.equal(twice, group.act_on_features(z, ab))


@each_exact
def test_one_element_an_image_is_one_image_after_another(group, draw):
    x = images(group, draw, group.order)
    one_by_one = [group.act(x[i : i + 1], i) for i in range(group.order)]
    assert torch.equal(group.act(x, group.elements()), torch.cat(one_by_one))


@each_exact
def test_the_moved_map_is_read_where_pull_says(group, draw):
    z = features(group, draw)
    if group.grid is None:
        z = group.flat(z)  # without space: the mean would differ by its rounding
    for g in range(group.order):
        want = group.flat(z)[..., group.pull(group.elements(), torch.tensor(g))]
        assert torch.equal(group.flat(group.act_on_features(z, g)), want)


@each_exact
def test_the_mean_over_the_base_space_does_not_move(group, draw):
    z = features(group, draw)
    for g in group.generators:
        moved = group.flat(group.act_on_features(z, g)).mean(2)
        assert torch.allclose(moved, group.flat(z).mean(2), rtol=0, atol=1e-14)


def test_a_turn_is_counterclockwise_and_comes_after_the_mirror():
    x = torch.arange(4).view(1, 1, 2, 2)  # 0 1 / 2 3
    assert Cyclic(4).act(x, 1).tolist() == [[[[1, 3], [0, 2]]]]
    assert Dihedral(4).act(x, 4).tolist() == [[[[1, 0], [3, 2]]]]
    assert Dihedral(4).act(x, 5).tolist() == [[[[0, 2], [1, 3]]]]


def test_the_dihedral_group_does_not_commute():
    a, b = torch.tensor(1), torch.tensor(4)
    assert int(Dihedral(4).compose(a, b)) != int(Dihedral(4).compose(b, a))


@each
def test_the_distance_is_a_metric(group):
    e = group.elements()
    d = group.distance(e[:, None], e[None])
    assert torch.equal(d, d.T)
    assert torch.equal(d == 0, torch.eye(group.order, dtype=torch.bool))
    assert bool((d[:, None] <= d[:, :, None] + d[None]).all())  # d(i,k) <= d(i,j) + d(j,k)
    assert group.diameter == int(d.max())


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 8])
def test_the_distance_of_rotations_goes_the_shorter_way(n):
    group = Cyclic(n, allow_approximate=True)
    for a in range(n):
        for b in range(n):
            step = abs(a - b)
            want = min(step, n - step)
            assert int(group.distance(torch.tensor(a), torch.tensor(b))) == want


def test_the_distance_of_the_dihedral_group_counts_generators():
    group = Dihedral(4)
    length = {0: 0}  # words in: turn, turn back, mirror
    frontier = [0]
    while frontier:
        a = frontier.pop(0)
        for step in (1, 3, 4):
            b = int(group.compose(torch.tensor(a), torch.tensor(step)))
            if b not in length:
                length[b] = length[a] + 1
                frontier.append(b)
    for a, steps in length.items():
        assert int(group.distance(torch.tensor(0), torch.tensor(a))) == steps


@given(h=st.integers(2, 9), w=st.integers(2, 9), seed=st.integers(0, 10**6))
def test_the_distance_of_shifts_is_the_larger_way_round_the_torus(h, w, seed):
    group = Translation((h, w))
    a, b = torch.randint(h * w, (2,), generator=torch.Generator().manual_seed(seed)).tolist()
    dy, dx = abs(a // w - b // w), abs(a % w - b % w)
    want = max(min(dy, h - dy), min(dx, w - dx))
    assert int(group.distance(torch.tensor(a), torch.tensor(b))) == want


def test_a_shift_moves_an_image_by_whole_cells(draw):
    x = draw(1, 1, 12, 8)
    group = Translation((3, 4))  # cells of 4 x 2 pixels
    assert torch.equal(group.act(x, 4 + 3), x.roll((4, 6), (-2, -1)))


def test_rotations_between_quarter_turns_keep_quarter_turns_exact(draw):
    group = Cyclic(8, allow_approximate=True)
    x = draw(3, 1, 9, 9)
    assert not group.exact
    assert torch.equal(group.act(x, 2), x.rot90(1, (-2, -1)))
    turned = group.act(group.act(x, 1), 2)
    assert torch.equal(turned, group.act(x, 3))


def test_an_interpolated_turn_is_a_turn_the_same_way():
    x = torch.zeros(1, 1, 31, 31, dtype=torch.float64)
    x[..., 15, 25] = 1.0  # to the right
    moved = Cyclic(8, allow_approximate=True).act(x, 1)[0, 0]
    y, there = divmod(int(moved.argmax()), 31)
    assert (y, there) == (15 - 7, 15 + 7)  # up and to the right


@pytest.mark.parametrize(
    ("text", "group"),
    [
        ("c4", Cyclic(4, allow_approximate=True)),
        ("D2", Dihedral(2, allow_approximate=True)),
        ("t14x7", Translation((14, 7))),
        ("t14x14m3", Translation((14, 14), margin=3)),
        ("s3", Scale(3)),
        ("c4*t7x7", Product(Cyclic(4, allow_approximate=True), Translation((7, 7)))),
    ],
)
def test_a_word_names_a_group(text, group):
    assert parse_group(text) == group
    assert parse_group(str(group).lower().replace("(", "").replace(")", "").replace(
        ", margin ", "m")) == group  # fmt: skip


@pytest.mark.parametrize("text", ["", "c", "x4", "t3", "c4*t7x7*s2", "t7x7*c4", "c4*d4", "s1"])
def test_another_word_is_refused(text):
    with pytest.raises(ValueError, match=r"got|must"):
        parse_group(text)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Cyclic(3), "must be 1, 2 or 4, got 3"),
        (lambda: Dihedral(8), "must be 1, 2 or 4, got 8"),
        (lambda: Cyclic(0), "at least 1, got 0"),
        (lambda: Translation((0, 3)), r"got \(0, 3\)"),
        (lambda: Translation((8, 8), margin=4), "margin must be 0 to 3"),
        (lambda: Product(Cyclic(4), Translation((3, 4))), "square grid"),
        (lambda: Product(Cyclic(8, allow_approximate=True), Translation((3, 3))), "to itself"),
        (lambda: Cyclic(4).act(torch.zeros(1, 1, 4, 6), 1), r"square images, got \(1, 1, 4, 6\)"),
        (lambda: Translation((3, 3)).act(torch.zeros(1, 1, 4, 6), 1), r"got \(1, 1, 4, 6\)"),
        (lambda: Cyclic(4).flat(torch.zeros(2, 3, 5)), r"\(B, C, 4\).*got \(2, 3, 5\)"),
        (lambda: Translation((3, 3)).flat(torch.zeros(2, 3, 1, 4, 4)), r"\(2, 3, 1, 4, 4\)"),
        (lambda: Cyclic(4).base(5), "must be 1 to 4, got 5"),
        (lambda: Translation((5, 5), margin=1).base(4), "must be 1 to 3, got 4"),
    ],
)
def test_says_what_came(make, message):
    with pytest.raises(ValueError, match=message):
        make()
