import pytest
import torch
from homssl import sample_elements
from tenfold import fiber_runs
from tenfold.augment import plain
from tenfold.data.images import Split, fashion_mnist
from tenfold.fiber_runs import ARMS, AUGMENTED, GRID, REMOVED, STRUCTURED, Arm
from tenfold.training import Schedule


@pytest.fixture(scope="module")
def split():
    full = fashion_mnist()
    rows = full.train[:192], full.train_labels[:192], full.test[:100], full.test_labels[:100]
    return Split("tiny", *rows, full.classes)


def looped_overlap(base_size, distance, draws):
    """Pixels seen by both of two drawn windows, counted one by one on the torus."""
    side, image = fiber_runs.crop(base_size), fiber_runs.CELL * GRID

    def seen(element):
        y, x = divmod(int(element), GRID)
        return {
            ((fiber_runs.CELL * y + i) % image, (fiber_runs.CELL * x + j) % image)
            for i in range(side)
            for j in range(side)
        }

    group = fiber_runs.shift_framework("fibers", 0, base_size=1, distance=1).group
    generator = torch.Generator().manual_seed(0)
    pairs = sample_elements(group, draws, generator=generator, max_distance=distance)
    shares = [len(seen(a) & seen(b)) / side**2 for a, b in pairs.T]
    return sum(shares) / len(shares)


@pytest.mark.parametrize(("base", "far"), [(1, 1), (1, 7), (4, 5), (8, 7)])
def test_the_overlap_is_that_of_the_pixels_that_drawn_windows_see(base, far):
    want = looped_overlap(base, far, 400)
    assert fiber_runs.overlap(base, far) == pytest.approx(want, abs=0.02)


def test_a_window_sees_its_crop_and_no_pixel_more():
    framework = fiber_runs.shift_framework("fibers", 0, base_size=2, distance=3).eval()
    x = torch.rand(1, 1, 28, 28, requires_grad=True)
    place = 5 * GRID + 4  # away from the border: the crop is seen whole
    g = framework.group.inverse(torch.tensor([place]))
    framework.branch(x, g.unsqueeze(0)).sum().backward()
    rows, columns = (x.grad[0, 0].abs().sum(axis) > 0 for axis in (1, 0))
    assert int(rows.sum()) == int(columns.sum()) == fiber_runs.crop(2)


def test_arms_of_one_net_and_seed_begin_alike_and_the_twin_has_the_same_tensors():
    nets = [fiber_runs.framework_of(arm, 3) for arm in (*ARMS, Arm("C4", "images"))]
    for one, other in ((0, 3), (1, 2)):
        pairs = zip(nets[one].state_dict().items(), nets[other].state_dict().items(), strict=True)
        assert all(a == b and torch.equal(p, q) for (a, p), (b, q) in pairs)
    x = plain(torch.tensor(fashion_mnist().test[:4]))
    assert nets[0].branch.encoder(x).shape == nets[1].branch.encoder(x).shape
    other = fiber_runs.framework_of(STRUCTURED, 4)
    assert not torch.equal(next(other.parameters()), next(nets[0].parameters()))


def test_retrieval_is_the_nearest_row_by_cosine(split):
    framework = fiber_runs.framework_of(REMOVED, 0)
    images = torch.tensor(split.test)
    found = fiber_runs.retrieve(framework, images)
    assert found.turned[0].right == len(images)
    framework.eval()
    x, right = plain(images), 0
    none, turned = torch.zeros(1, 100, dtype=torch.long), x.rot90(1, (-2, -1))
    gallery, queries = (framework.branch(v, none)[0].detach() for v in (x, turned))
    for n, query in enumerate(queries):
        cosines = [float(query @ row / query.norm() / row.norm()) for row in gallery]
        right += cosines.index(max(cosines)) == n
    assert found.turned[90].right == right
    assert int((fiber_runs.nearest(framework, images, 90) == torch.arange(100)).sum()) == right


def test_of_an_equivariant_net_a_turned_image_is_another_fiber_of_the_same_pass(split):
    """Turning by g and reading the base is reading g^-1 base: the pretext is the retrieval."""
    images = torch.tensor(split.test)
    found = fiber_runs.retrieve(fiber_runs.framework_of(STRUCTURED, 0), images)
    for g in (1, 2, 3):
        assert abs(found.pretext[g].right - found.turned[90 * g].right) <= 1
    free = fiber_runs.retrieve(fiber_runs.framework_of(REMOVED, 0), images)
    assert free.pretext[2].right < free.turned[180].right


@pytest.mark.parametrize("arm", [STRUCTURED, AUGMENTED], ids=str)
def test_training_lowers_the_loss_and_leaves_the_global_generator(split, arm):
    framework, seen = fiber_runs.framework_of(arm, 0), []
    torch.manual_seed(1)
    before = torch.get_rng_state()
    losses = fiber_runs.fit_framework(
        framework, torch.tensor(split.train), schedule=Schedule(6, 48, 3e-3), seed=0,
        progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert torch.equal(torch.get_rng_state(), before)
    assert not framework.training
    assert seen[-1] == (24, 24)
    assert sum(losses[-4:]) < sum(losses[:4])


def test_pooling_over_the_group_makes_a_turn_invisible_to_the_class_probe(split):
    framework = fiber_runs.framework_of(STRUCTURED, 0)
    x = plain(torch.tensor(split.test))
    both = (fiber_runs.features(framework, v) for v in (x, x.rot90(1, (-2, -1))))
    upright, turned = (z.mean(2) for z in both)
    torch.testing.assert_close(upright, turned, rtol=1e-4, atol=1e-5)
    probes = fiber_runs.class_probes(framework, split)
    assert list(probes) == ["fiber, upright", "fiber, turned", "pooled, turned"]
    assert all(0.2 < probe.value < 1 for probe in probes.values())
    shifted = fiber_runs.shift_framework("fibers", 0, base_size=1, distance=1)
    assert fiber_runs.pooled_probe(shifted, split).value > 0.4
