import math

import pytest
import torch
from er_ssl import NTXentLoss
from tenfold.augment import plain, views
from tenfold.data.images import fashion_mnist
from tenfold.encoders import mlp, resnet18, small_encoder
from tenfold.methods import contrastive, distillation, fit, seeded, untrained
from tenfold.training import EMATeacher, Schedule, embed, pair_step, train
from torch import nn


def images(n=64):
    return torch.tensor(fashion_mnist(n).train)


def test_views_are_drawn_from_the_generator_alone():
    x = images(16)
    torch.manual_seed(7)
    before = torch.get_rng_state()
    a = views(x, torch.Generator().manual_seed(1))
    b = views(x, torch.Generator().manual_seed(1))
    assert torch.equal(a, b)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(a, views(x, torch.Generator().manual_seed(2)))


def test_every_image_of_a_batch_gets_a_draw_of_its_own():
    same = images(1).expand(8, -1, -1, -1)
    drawn = views(same, torch.Generator().manual_seed(0))
    assert len({tuple(v.flatten().tolist()) for v in drawn}) == 8


def test_the_mirror_is_the_mirror_and_nothing_else():
    x = images(200)
    wide = views(x, torch.Generator().manual_seed(0), least_area=1.0)
    u = torch.rand(7, 200, generator=torch.Generator().manual_seed(0))
    undone = (wide - 0.8 * (u[6] - 0.5).view(-1, 1, 1, 1)) / (0.6 + 0.8 * u[5]).view(-1, 1, 1, 1)
    square = ((u[1] - 0.5).abs() * 0.575).exp() < 1.01  # crops that keep the whole image
    want = torch.where((u[2] < 0.5).view(-1, 1, 1, 1), plain(x).flip(-1), plain(x))
    assert square.sum() >= 2
    assert (undone - want)[square].abs().mean() < 0.02


def test_views_refuse_what_is_not_uint8():
    with pytest.raises(TypeError, match="float32"):
        views(torch.zeros(2, 1, 8, 8), torch.Generator())


def test_encoders_map_images_to_rows():
    assert small_encoder()(torch.zeros(2, 1, 28, 28)).shape == (2, 128)
    assert resnet18()(torch.zeros(2, 3, 32, 32)).shape == (2, 512)


@pytest.mark.parametrize("decay", [0.0, 0.9, 1.0])
def test_a_teacher_is_the_moving_average(decay):
    model = nn.Linear(3, 2)
    teacher = EMATeacher(model, decay)
    want = model.weight.detach().clone()
    for _ in range(3):
        with torch.no_grad():
            model.weight += 1
        teacher.update()
        want = decay * want + (1 - decay) * model.weight.detach()
    torch.testing.assert_close(teacher.module.weight, want)
    assert not teacher(torch.zeros(1, 3)).requires_grad


def test_training_repeats_itself_and_leaves_the_global_generator():
    def once():
        model = seeded(0, lambda: nn.Sequential(small_encoder(), mlp(128, 32, 16)))
        step = pair_step(model, NTXentLoss(0.1))
        return train([model], images(128), step, schedule=Schedule(1, 32), seed=3)

    before = torch.get_rng_state()
    first = once()
    assert first == once()
    assert len(first) == 4
    assert torch.equal(torch.get_rng_state(), before)


def test_training_lowers_the_loss_of_any_pair_objective():
    def objective(z1, z2):
        return (z1 - z2).square().mean()

    model = seeded(0, lambda: nn.Sequential(small_encoder(), nn.Linear(128, 8)))
    losses = train(
        [model], images(256), pair_step(model, objective), schedule=Schedule(8, 64), seed=0
    )
    assert losses[-1] < 0.5 * losses[0]


def test_a_loss_that_is_not_finite_stops_training():
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 2))
    with pytest.raises(FloatingPointError, match="step 1"):
        train(
            [model],
            images(8),
            pair_step(model, lambda a, b: a.sum() * math.inf),
            schedule=Schedule(1, 4),
            seed=0,
        )


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(ValueError, match="batch of 256 needs as many images, got 10"):
        Schedule().steps(10)


def test_embedding_is_in_eval_mode_and_gives_the_mode_back():
    encoder = small_encoder().train()
    z = embed(encoder, images(10), batch=4)
    assert z.shape == (10, 128)
    assert encoder.training
    encoder.eval()
    torch.testing.assert_close(z, encoder(plain(images(10))))


def test_bare_distillation_collapses_in_seconds_and_the_entropy_prevents_it():
    split = fashion_mnist(1024)
    spread = {}
    for weight in (0.0, 1.0):
        encoder = seeded(0, small_encoder)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            method = distillation(
                encoder, decay=0.0, predictor=False, entropy_weight=weight, features=128
            )
        run = fit(method, split, schedule=Schedule(12, 128), seed=0)
        spread[weight] = run.std
        assert run.trace["step"][0] == 0
        assert run.trace["step"][-1] == 96
    assert spread[0.0] < 0.3 < 0.9 < spread[1.0]


def test_an_untrained_encoder_is_measured_without_a_trace():
    run = untrained(seeded(0, small_encoder), fashion_mnist(200))
    assert run.trace == {}
    assert 0.3 < run.probe.value < 0.9


def test_contrastive_training_takes_any_objective():
    method = contrastive(seeded(0, small_encoder), NTXentLoss(0.1), features=128)
    run = fit(method, fashion_mnist(128), schedule=Schedule(1, 64), seed=0)
    assert math.isfinite(run.loss)
