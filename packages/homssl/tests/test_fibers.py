from collections import Counter

import pytest
import torch
from homssl import (
    Cyclic,
    Dihedral,
    Product,
    Scale,
    Translation,
    fibers,
    group_convnet,
    sample_elements,
)
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

GROUPS = [
    Cyclic(4),
    Dihedral(4),
    Translation((3, 4)),
    Product(Cyclic(4), Translation((4, 4))),
    Product(Dihedral(4), Translation((3, 3))),
]
each = pytest.mark.parametrize("group", GROUPS, ids=str)


def features(group, draw, batch=3, seed=0):
    space = group.grid or ()
    return draw(batch, 2, group.axis, *space, seed=seed)


def elements(group, batch, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randint(group.order, (batch,), generator=g)


def looped_fibers(z, group, base, g):
    """One number at a time: fiber after fiber, each of all channels."""
    flat = z.flatten(2)
    rows = []
    for b in range(len(z)):
        row = []
        for s in base:
            place = int(group.pull(s, g[b]))
            row += [float(flat[b, c, place]) for c in range(z.shape[1])]
        rows.append(row)
    return torch.tensor(rows, dtype=z.dtype)


@each
def test_equals_the_definition_number_by_number(group, draw):
    z, base, g = features(group, draw), group.base(2), elements(group, 3)
    assert torch.equal(fibers(z, group, base, g), looped_fibers(z, group, base, g))


@each
def test_the_identity_reads_the_base(group, draw):
    z, base = features(group, draw), group.base(2)
    identity = torch.zeros(3, dtype=torch.int64)
    want = group.flat(z)[:, :, base].transpose(1, 2).flatten(1)
    assert torch.equal(fibers(z, group, base, identity), want)


@given(index=st.integers(0, len(GROUPS) - 1), seed=st.integers(0, 10**6))
def test_moving_the_map_and_then_reading_is_reading_at_the_product(index, seed, draw):
    group = GROUPS[index]
    z, base = features(group, draw, seed=seed), group.base(2)
    a, g = elements(group, 3, seed), elements(group, 1, seed + 1)
    moved = group.act_on_features(z, int(g))
    at_product = fibers(z, group, base, group.compose(a, g.expand(3)))
    assert torch.equal(fibers(moved, group, base, a), at_product)


def test_the_order_of_the_product_matters_where_turns_and_mirrors_mix(draw):
    group = Dihedral(4)
    z, base = features(group, draw), group.base(1)
    a, g = torch.tensor([1, 1, 1]), torch.tensor([4, 4, 4])
    moved = group.act_on_features(z, 4)
    assert not torch.equal(fibers(moved, group, base, a), fibers(z, group, base,
                                                                group.compose(g, a)))  # fmt: skip


@each
def test_the_fibers_are_those_of_the_moved_image(group, draw):
    side = 4 * (group.grid[0] if group.grid else 3)
    width = 4 * (group.grid[1] if group.grid else 3)
    net = group_convnet(group, widths=(3, 4, 5)).double().requires_grad_(False)
    x, base, g = draw(6, 1, side, width), group.base(2), elements(group, 6)
    identity = torch.zeros(6, dtype=torch.int64)
    there = fibers(net(x), group, base, g)
    here = fibers(net(group.act(x, g)), group, base, identity)
    assert float((there - here).abs().max()) < 1e-12
    wrong = fibers(net(x), group, base, group.inverse(g))
    assert float((wrong - here).abs().max()) > 1e-3


def test_space_is_averaged_where_no_translation_moves_it(draw):
    z, base, g = draw(3, 2, 4, 5, 5), torch.tensor([0]), torch.tensor([1, 2, 3])
    pooled = fibers(z.mean((3, 4)), Cyclic(4), base, g)
    assert torch.equal(fibers(z, Cyclic(4), base, g), pooled)


def test_fibers_that_are_not_read_get_no_gradient(draw):
    z = draw(3, 2, 4).requires_grad_()
    g = torch.tensor([0, 1, 2])
    fibers(z, Cyclic(4), torch.tensor([0]), g).square().sum().backward()
    read = Cyclic(4).pull(torch.tensor(0), g)
    for b in range(3):
        for s in range(4):
            assert bool((z.grad[b, :, s] != 0).all()) == (s == int(read[b]))


@each
@pytest.mark.parametrize("views", [2, 3])
def test_views_are_distinct_and_near_enough(group, views, generator):
    for limit in range(1, group.diameter + 1):
        drawn = sample_elements(
            group, 200, views=views, max_distance=limit, generator=generator
        ) if not (views > 2 and limit == 1 and group.grid is None) else None  # fmt: skip
        if drawn is None:
            continue
        places = group.pull(group.base(1), drawn)
        for i in range(views):
            for j in range(i):
                apart = group.distance(places[i], places[j])
                assert int(apart.min()) >= 1
                assert int(apart.max()) <= limit


@pytest.mark.parametrize("limit", [1, 2, 3, 4])
def test_pairs_obey_the_uniform_law_of_their_distance(limit):
    """n = 8,000 pairs, seeds 1 to 4, bound p > 1e-4; the control is another law."""
    group = Cyclic(8, allow_approximate=True)
    generator = torch.Generator().manual_seed(limit)
    drawn = sample_elements(group, 8000, max_distance=limit, generator=generator)
    pairs = Counter(map(tuple, drawn.T.tolist()))
    allowed = [
        (a, b) for a in range(8) for b in range(8) if 1 <= min((a - b) % 8, (b - a) % 8) <= limit
    ]
    assert set(pairs) <= set(allowed)
    counts = [pairs[pair] for pair in allowed]
    assert stats.chisquare(counts).pvalue > 1e-4
    skewed = [count * (1 + (pair[0] == 0)) for pair, count in zip(allowed, counts, strict=True)]
    assert stats.chisquare(skewed).pvalue < 1e-4


def test_shifts_obey_the_uniform_law_too():
    """n = 10,000, seed 0, bound p > 1e-4."""
    group = Translation((4, 5))
    drawn = sample_elements(group, 10_000, generator=torch.Generator().manual_seed(0))
    counts = Counter(map(tuple, drawn.T.tolist()))
    assert len(counts) == 20 * 19
    assert stats.chisquare(list(counts.values())).pvalue > 1e-4


def test_one_element_may_come_twice_if_that_is_asked_for(generator):
    drawn = sample_elements(Cyclic(4), 400, distinct=False, generator=generator)
    assert 50 < int((drawn[0] == drawn[1]).sum()) < 150


def test_a_draw_is_replayed_and_the_global_generator_left_alone():
    before = torch.random.get_rng_state()
    first, again = (
        sample_elements(Dihedral(4), 9, views=3, generator=torch.Generator().manual_seed(5))
        for _ in range(2)
    )
    assert torch.equal(first, again)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_windows_stay_inside_the_margin(generator):
    group = Translation((9, 9), margin=2)
    base = group.base(3)
    assert group.split(base[0]).tolist() == [2, 2]
    drawn = sample_elements(group, 500, base_size=3, generator=generator)
    places = group.split(group.pull(base.view(1, 1, -1), drawn.unsqueeze(2)))
    assert int(places.min()) == 2
    assert int(places.max()) == 6
    assert len(drawn.unique()) == 9  # three by three windows
    near = sample_elements(group, 500, base_size=3, max_distance=1, generator=generator)
    corner = group.pull(base[:1], near)
    assert int(group.distance(corner[0], corner[1]).max()) == 1


def test_levels_beyond_the_last_are_never_drawn_nor_read(generator):
    group = Scale(4)
    drawn = sample_elements(group, 300, base_size=2, generator=generator)
    assert sorted(drawn.unique().tolist()) == [0, 1, 2]
    with pytest.raises(ValueError, match="cannot be read"):
        fibers(torch.zeros(1, 2, 4), group, group.base(2), torch.tensor([3]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_distance": 0}, "1 to 2, got 0"),
        ({"max_distance": 3}, "1 to 2, got 3"),
        ({"views": 5}, "at most 4 where all differ, got 5"),
        ({"views": 3, "max_distance": 1}, "3 different views do not fit within max_distance 1"),
        ({"views": 0}, "at least 1"),
        ({"base_size": 5}, "1 to 4, got 5"),
    ],
)
def test_the_draw_says_what_came(options, message, generator):
    with pytest.raises(ValueError, match=message):
        sample_elements(Cyclic(4), 8, generator=generator, **options)


@pytest.mark.parametrize(
    ("shape", "base", "g", "message"),
    [
        ((2, 3, 4), [0], [0, 1, 2], r"\(2,\), got \(3,\)"),
        ((2, 3, 5), [0], [0, 1], r"got \(2, 3, 5\)"),
        ((2, 3, 4), [0], [0, 4], "0 to 3, got 0 to 4"),
        ((2, 3, 4), [-1], [0, 1], "got -1 to -1"),
        ((2, 3, 4), [0.5], [0, 1], "integers"),
    ],
)
def test_the_reading_says_what_came(shape, base, g, message):
    with pytest.raises(ValueError, match=message):
        fibers(torch.zeros(shape), Cyclic(4), torch.tensor(base), torch.tensor(g))
