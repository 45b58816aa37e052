import pytest
import torch
from randaug_study import Collate, Numbered, RandAugment
from torch.utils.data import DataLoader, TensorDataset


def dataset() -> TensorDataset:
    g = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (23, 3, 8, 8), generator=g, dtype=torch.uint8)
    return TensorDataset(x, torch.arange(23))


def epoch(collate, workers, batch, order=None, start="fork"):
    loader = DataLoader(
        Numbered(dataset()), batch, sampler=order or range(23), collate_fn=collate,
        num_workers=workers, multiprocessing_context=start if workers else None,
    )  # fmt: skip
    pairs = list(loader)
    labels = torch.cat([y for _, y in pairs])
    return torch.cat([x for x, _ in pairs])[labels.argsort()]


def test_the_bytes_are_the_same_for_any_workers_batches_and_order():
    collate = Collate(RandAugment(), seed=5)
    want = epoch(collate, 0, 23)
    assert torch.equal(epoch(collate, 0, 4), want)
    assert torch.equal(epoch(collate, 0, 5, list(reversed(range(23)))), want)
    for workers in (1, 2):
        assert torch.equal(epoch(collate, workers, 4), want)
    collate.set_epoch(1)
    assert not torch.equal(epoch(collate, 0, 23), want)


@pytest.mark.slow
def test_spawned_workers_give_them_too():
    collate = Collate(RandAugment(), seed=5)
    assert torch.equal(epoch(collate, 1, 6, start="spawn"), epoch(collate, 0, 23))


def test_workers_that_stay_see_the_next_epoch():
    collate = Collate(RandAugment(), seed=5)
    loader = DataLoader(
        Numbered(dataset()), 23, collate_fn=collate, num_workers=1, persistent_workers=True,
        multiprocessing_context="fork",
    )  # fmt: skip
    seen = []
    for number in range(2):
        collate.set_epoch(number)
        seen.append(next(iter(loader))[0])
    assert not torch.equal(*seen)


def test_without_a_seed_two_workers_draw_differently():
    class Same(torch.utils.data.Dataset):
        def __len__(self):
            return 128

        def __getitem__(self, number):
            g = torch.Generator().manual_seed(0)
            return torch.randint(0, 256, (3, 8, 8), generator=g, dtype=torch.uint8)

    loader = DataLoader(
        Same(), 64, collate_fn=Collate(RandAugment()), num_workers=2, multiprocessing_context="fork"
    )
    first, second = list(loader)
    assert not torch.equal(first, second)


def test_opencv_serves_in_a_forked_worker_after_the_parent_has_used_threads():
    pytest.importorskip("cv2")
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        collate = Collate(RandAugment(backend="opencv"), seed=5)
        want = epoch(collate, 0, 23)
        assert torch.equal(epoch(collate, 2, 6), want)
        assert torch.equal(epoch(Collate(RandAugment(), seed=5), 0, 23), want)
    finally:
        torch.set_num_threads(threads)


def test_a_seed_needs_numbered_items():
    loader = DataLoader(dataset(), 4, collate_fn=Collate(RandAugment(), seed=1))
    with pytest.raises(TypeError, match="Numbered"):
        next(iter(loader))
