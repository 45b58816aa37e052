import math
from types import SimpleNamespace

import pytest
import torch
from duet.harness import embed, fit, one_cycle
from torch import nn


class Blur(nn.Module):
    """A method whose loss depends on which images came, and on what the generator drew."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.BatchNorm1d(3))
        self.seen = []

    def step(self, images, *, generator=None):
        noise = torch.rand(images.shape, generator=generator)
        self.seen.append(images[:, 0, 0, 0].long().tolist())
        content = self.net(images + noise).square().mean()
        turn = (self.net[1].weight - 1).square().mean()
        return SimpleNamespace(loss=content + turn, content=content, group={"turn": turn})


def made(seed=0):
    torch.manual_seed(seed)
    return Blur()


def images(n=20):
    return torch.arange(n).float().view(n, 1, 1, 1).expand(n, 1, 2, 2).contiguous()


def run(method, generator=None, **options):
    generator = generator or torch.Generator().manual_seed(1)
    return fit(method, images(), **{"steps": 10, "batch": 6, "generator": generator} | options)


def flat(method):
    return torch.cat([x.flatten().double() for x in method.state_dict().values()])


def test_every_pass_shows_each_image_at_most_once_and_the_rest_is_left_out():
    method = made()
    run(method, steps=9)
    for start in range(0, 9, 3):
        rows = [row for batch in method.seen[start : start + 3] for row in batch]
        assert len(rows) == 18 == len(set(rows))
    assert method.seen[0] != method.seen[3]
    assert not method.training


def test_a_training_is_replayed_by_its_generator_and_leaves_the_global_one():
    first, second, other = made(), made(), made()
    before = torch.random.get_rng_state()
    traces = [run(method) for method in (first, second)]
    run(other, generator=torch.Generator().manual_seed(2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert traces[0] == traces[1]
    assert torch.equal(flat(first), flat(second))
    assert not torch.equal(flat(first), flat(other))


class Stop(Exception):
    pass


@pytest.mark.parametrize("at", [2, 5, 9])
def test_a_killed_training_ends_at_the_weights_of_one_that_was_not(tmp_path, at):
    whole, path = made(), tmp_path / "training.safetensors"
    want = run(whole)

    def stop(done, total):
        if done == at:
            raise Stop

    with pytest.raises(Stop):
        run(made(), checkpoint=path, save_every=2, progress=stop)
    again = made(seed=9)  # its own weights do not count
    generator = torch.Generator().manual_seed(77)  # nor does its generator
    got = run(again, generator=generator, checkpoint=path, save_every=2)
    assert got == want
    assert torch.equal(flat(again), flat(whole))
    assert len(again.seen) == 10 - at // 2 * 2


def test_a_finished_training_is_not_run_again(tmp_path):
    path, first, again = tmp_path / "x", made(), made(seed=3)
    trace = run(first, checkpoint=path)
    assert run(again, checkpoint=path) == trace
    assert again.seen == []
    assert torch.equal(flat(first), flat(again))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 11}, "steps 10, not 11"),
        ({"batch": 5}, "batch 6, not 5"),
        ({"lr": 1.0}, "lr 0.002, not 1.0"),
        ({"images": images(21)}, r"images \[20, 1, 2, 2\], not \[21, 1, 2, 2\]"),
        ({"images": images() + 1}, "first images 480.0, not 544.0"),
        ({"method": "other"}, "method Blur, not Other"),
        ({"method": "wider"}, "structure .*, not .*; remove it to begin anew"),
    ],
)
def test_a_checkpoint_of_another_training_is_refused(tmp_path, change, message):
    class Other(Blur):
        pass

    run(made(), checkpoint=tmp_path / "x")
    options = {"steps": 10, "batch": 6, "generator": torch.Generator()} | change
    method = Other() if options.pop("method", None) == "other" else made()
    if change.get("method") == "wider":
        method.net.append(nn.Linear(3, 1))
    with pytest.raises(ValueError, match=message):
        fit(method, options.pop("images", images()), checkpoint=tmp_path / "x", **options)


def test_the_loss_falls_and_its_terms_are_kept():
    trace = run(made(), steps=60, lr=0.1)
    assert list(trace.terms) == ["loss", "content", "turn"]
    assert trace.terms["loss"][-1] < trace.terms["loss"][0]
    first = [trace.terms[name][0] for name in trace.terms]
    assert first[0] == pytest.approx(first[1] + first[2], rel=1e-5)
    assert str(trace).startswith("60 steps: loss ")
    assert {len(column) for column in trace.to_table().values()} == {60}


def test_a_loss_that_is_not_finite_stops_it():
    method = made()
    method.net[1].weight.data.fill_(torch.nan)
    with pytest.raises(FloatingPointError, match="nan at step 1"):
        run(method)


def test_the_rate_climbs_to_its_top_and_falls_to_nothing():
    rates = [one_cycle(n, 101) for n in range(101)]
    assert rates[0] == pytest.approx(0.04)
    assert max(rates) == rates[30] == pytest.approx(1)
    assert rates[100] == pytest.approx(0, abs=1e-12)
    assert rates[:31] == sorted(rates[:31])
    assert rates[30:] == sorted(rates[30:], reverse=True)
    assert one_cycle(0, 1) == pytest.approx(0.04)
    theirs = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    cycle = torch.optim.lr_scheduler.OneCycleLR(theirs, 1.0, total_steps=101)
    for rate in rates[:-1]:
        assert theirs.param_groups[0]["lr"] == pytest.approx(rate, abs=0.03)
        theirs.step()
        cycle.step()


def test_many_images_are_embedded_in_parts_in_eval_mode():
    net = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4))
    x = torch.rand(11, 1, 2, 2)
    whole, parts = embed(net, x, batch=11), embed(net, x, batch=3)
    assert torch.equal(whole, parts)
    assert net.training
    assert torch.allclose(whole, x.flatten(1) / math.sqrt(1 + 1e-5))
    assert not whole.requires_grad
    with pytest.raises(ValueError, match="got none"):
        embed(net, x[:0])


def test_says_what_came():
    with pytest.raises(TypeError, match=r"step\(images, generator=...\), got Linear"):
        fit(nn.Linear(1, 1), images(), generator=torch.Generator())
    with pytest.raises(ValueError, match="20 images, batch 21"):
        run(made(), batch=21)
    with pytest.raises(ValueError, match="steps 0"):
        run(made(), steps=0)
