import json

import pytest
import torch
from homssl import (
    ASSL,
    HSSL,
    Cyclic,
    FailureCell,
    SweepCell,
    group_convnet,
    run_failure_cell,
    run_sweep_cell,
    step_seconds,
    synthetic_images,
)
from homssl.experiment import ARMS
from homssl.journal import run_cells, write_csv, written
from homssl.measures import embeddings, linear_probe, top1, turned_retrieval


@pytest.fixture(scope="module")
def pictures():
    return synthetic_images(600, generator=torch.Generator().manual_seed(0))


def test_with_structure_a_turned_image_is_known_and_without_it_is_not(pictures):
    """Few steps, to see the direction; the bars are those of the slow test."""
    x, _ = pictures
    structured, plain, augmented = (
        run_failure_cell(x[:480], x[480:], net=net, loss=loss, seed=0, steps=30, batch=32)
        for net, loss in ARMS
    )
    assert min(structured.after) >= 0.8
    assert max(plain.after[0], plain.after[2]) <= 0.15
    assert plain.pretext > 0.1 > augmented.pretext
    assert augmented.after[0] > 2 * plain.after[0]
    assert "plain net, H-SSL" in str(plain)
    assert {len(column) for column in plain.to_table().values()} == {3}


@pytest.mark.slow
def test_without_structure_the_pretext_is_solved_and_a_turned_image_unknown():
    """One seed of `homssl demo --failure`, 150 steps, a gallery of 1,000: the bars."""
    x, _ = synthetic_images(5000, generator=torch.Generator().manual_seed(0))
    structured, plain, augmented = (
        run_failure_cell(x[:4000], x[4000:], net=net, loss=loss, seed=0) for net, loss in ARMS
    )
    assert min(structured.after) >= 0.95
    assert max(plain.after[0], plain.after[2]) <= 0.15
    assert plain.pretext >= 0.9
    assert min(augmented.after) >= 0.9


def test_a_cell_is_replayed_by_its_seed_and_leaves_the_global_generator(pictures):
    x, y = pictures
    before = torch.random.get_rng_state()
    options = {"net": "plain", "loss": "h", "steps": 3, "batch": 16}
    labels = (y[:100], y[:100])
    first, again, other = (
        run_failure_cell(x[:100], x[:100], seed=seed, labels=labels, **options)
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other
    assert len(first.probes) == 2
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_distance_on_the_map_is_a_shift_of_the_image(pictures):
    x, y = pictures
    data = (x[:200], y[:200])
    cell = run_sweep_cell(data, data, base_size=2, distance=3, seed=0, steps=20, batch=32)
    assert cell.gap < 1e-4
    assert cell.final_loss < cell.start_loss
    assert 0.1 < cell.probe <= 1
    assert {len(column) for column in cell.to_table().values()} == {1}
    with pytest.raises(ValueError, match="1 to 7, got 8"):
        run_sweep_cell(data, data, base_size=2, distance=8, seed=0)


def test_at_fixed_weights_the_loss_rises_with_the_distance(pictures):
    x, y = pictures
    data = (x[:200], y[:200])
    near, far = (
        run_sweep_cell(data, data, base_size=2, distance=d, seed=0, steps=1, batch=64)
        for d in (1, 7)
    )
    assert far.start_loss > near.start_loss + 0.1


def test_retrieval_counts_the_queries_that_find_themselves():
    gallery = torch.eye(4)
    assert top1(gallery, gallery) == 1.0
    assert top1(gallery.roll(1, 0), gallery) == 0.0
    assert top1(gallery[[0, 1, 3, 2]], gallery) == 0.5


def test_an_equivariant_network_with_the_mean_of_fibers_knows_every_turn(pictures):
    class Mean(torch.nn.Module):
        def forward(self, v):
            return v.unflatten(1, (4, -1)).mean(1)

    group = Cyclic(4)
    h = HSSL(group_convnet(group), group, head=Mean(), base_size=4)
    assert turned_retrieval(h, pictures[0][:50]) == (1.0, 1.0, 1.0)
    assert h.training
    assert torch.allclose(embeddings(h, pictures[0][:5]).norm(dim=1), torch.ones(5))


def test_the_probe_learns_what_is_linear_and_nothing_else(generator):
    x = torch.randn(600, 1, 2, 2, generator=generator)
    y = (x[:, 0, 0, 0] > 0).long()
    noise = torch.randint(2, (600,), generator=generator)
    h = HSSL(torch.nn.Identity(), Cyclic(4))
    for labels, low, high in ((y, 0.93, 1.0), (noise, 0.35, 0.65)):
        share = linear_probe(
            h, lambda x: x.flatten(1), (x[:400], labels[:400]), (x[400:], labels[400:])
        )
        assert low <= share <= high
        assert h.training


def test_both_steps_are_timed_on_one_draw():
    encoder, group = group_convnet(Cyclic(4)), Cyclic(4)
    both = {"h": HSSL(encoder, group, views=4), "a": ASSL(encoder, group, views=4)}
    taken = step_seconds(both, torch.randn(16, 1, 28, 28), turns=3)
    assert taken["a"] > 1.5 * taken["h"]  # 4 is the ideal; the race is in benchmarks/


def test_pictures_are_drawn_from_their_generator(pictures):
    x, y = pictures
    again, labels = synthetic_images(600, generator=torch.Generator().manual_seed(0))
    assert torch.equal(x, again)
    assert torch.equal(y, labels)
    assert x.shape == (600, 1, 28, 28)
    assert 0 <= float(x.min()) <= float(x.max()) <= 1
    assert sorted(y.unique().tolist()) == list(range(10))


def test_a_journal_is_gone_on_with(tmp_path):
    path, ran = tmp_path / "deep" / "journal.jsonl", []

    def run(base_size, seed):
        ran.append(seed)
        return SweepCell(base_size, 1, seed, 0.0, 0.0, 0.0, seed / 2)

    said = []
    tasks = [{"base_size": 1, "seed": seed} for seed in range(4)]
    first = run_cells(path, tasks[:2], run, say=said.append)
    with path.open("a") as file:
        file.write('{"task": {"base_size": 1, "se')  # cut off
    rows = run_cells(path, tasks, run, say=said.append)
    assert ran == [0, 1, 2, 3]
    assert rows[:2] == first
    assert [row["probe"] for row in rows] == [0.0, 0.5, 1.0, 1.5]
    assert len(said) == 4
    assert len([json.loads(line) for line in path.read_text().splitlines()]) == 4
    path.write_text("no journal\n")
    with pytest.raises(ValueError, match="line 1, is no run"):
        run_cells(path, tasks, run)


def test_a_table_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "table.csv"
    cell = FailureCell("c4", "h", 0, (0.1, 0.2, 0.3), (1.0, 1.0, 1.0), 1.0, 0.5)
    write_csv(path, [cell.__dict__])
    assert path.read_text().splitlines()[0].startswith("net,loss,seed,before_0,before_1,before_2")
    before = path.read_text()

    def fail():
        with written(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == before
    assert list(tmp_path.iterdir()) == [path]


def test_says_what_came(pictures):
    x, _ = pictures
    with pytest.raises(ValueError, match="'c8' and 'h'"):
        run_failure_cell(x, x, net="c8", loss="h", seed=0)
    with pytest.raises(ValueError, match="square images"):
        run_failure_cell(x[..., :20], x, net="c4", loss="h", seed=0)
