import pickle
from dataclasses import replace

import pytest
import torch
from duet import DuetMatrix, ParamView, hflip, nt_xent, rotation, scale
from duet.baselines import ESSL, SimCLR
from duet.encoders import ConvNet, ProjectionHead
from duet.model import Duet, steer
from duet.store import read_tensors
from safetensors.torch import save_file
from torch import nn

TURN = rotation()


def images(n=8, channels=1, seed=0):
    return torch.rand(n, channels, 12, 12, generator=torch.Generator().manual_seed(seed))


def small(factors=(TURN,), features=32, **options):
    torch.manual_seed(0)
    encoder = ConvNet(1, features=features, widths=(4, 4, 8, 8))
    view = ParamView([scale(low=0.25), *factors])
    return Duet(encoder, factors, **{"view": view} | options)


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


def gradients(module):
    return [None if p.grad is None else p.grad.clone() for p in module.parameters()]


def test_a_step_is_the_loss_of_two_drawn_views_written_out():
    def one_sided(z1, z2):  # tells which view is the first
        return (z1 - 2 * z2).square().mean()

    model = small(objective=one_sided).eval()
    x, g = images(), draws()
    first, second = model.view(x, g), model.view(x, g)
    out1, out2 = model(first.image), model(second.image)
    z1, z2 = model.head(out1.content), model.head(out2.content)
    want = model.loss(out1, out2, z1, z2, first.params, second.params)
    got = model.step(x, generator=draws())
    torch.testing.assert_close(got.loss, want.loss, rtol=1e-4, atol=1e-4)
    assert not torch.equal(first.image, second.image)
    assert got.loss.isfinite()


def test_a_step_draws_from_its_generator_and_from_nothing_else():
    model = small()
    before = torch.random.get_rng_state()
    a, b, c = (model.step(images(), generator=draws(seed)).loss for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_with_one_bin_it_is_simclr_bit_for_bit():
    one = rotation(bins=1)
    view = ParamView([scale(low=0.25), one])
    duet = small((one,), view=view)
    torch.manual_seed(0)
    simclr = SimCLR(ConvNet(1, features=32, widths=(4, 4, 8, 8)), view)
    assert all(
        torch.equal(a, b) for a, b in zip(duet.parameters(), simclr.parameters(), strict=True)
    )
    losses = []
    for model in (duet, simclr):
        loss = model.step(images(), generator=draws()).loss
        loss.backward()
        losses.append(loss)
    assert torch.equal(*losses)
    pairs = zip(gradients(duet), gradients(simclr), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_with_lambda_0_the_gradient_is_that_of_the_objective_on_the_content_sum():
    model = small(weights=0.0)
    model.step(images(), generator=draws()).loss.backward()
    got = gradients(model)
    model.zero_grad()
    x, g = images(), draws()
    views = [model.view(x, g).image for _ in range(2)]
    content = model.encoder(torch.cat(views)).view(16, 8, 4).sum(1)
    nt_xent(*model.head(content).chunk(2)).backward()
    assert all(torch.equal(a, b) for a, b in zip(got, gradients(model), strict=True))


def test_the_readout_is_that_of_the_matrix_of_the_features():
    model = small((TURN, hflip()), split=(16, 16)).eval()
    z = model.features(images())
    marginal = z[:, :16].view(8, 8, 2).mean(2).softmax(1)
    torch.testing.assert_close(model.readout(images())["rotation"], TURN.readout(marginal))
    assert set(model.readout(images())) == {"rotation", "hflip"}


def test_steering_moves_one_factor_and_leaves_the_other():
    matrix = DuetMatrix(32, [TURN, hflip(bins=4)])
    z = torch.randn(5, 32, generator=draws())
    turned = steer(matrix, z, "rotation", 2 / 8)
    assert torch.equal(turned[:, 16:], z[:, 16:])
    want = z[:, :16].view(5, 8, 2).roll(2, 1).flatten(1)
    assert torch.equal(turned[:, :16], want)
    assert torch.equal(steer(matrix, z, "rotation", 1.0), z)
    moved = steer(matrix, z, "hflip", 0.2)
    assert torch.equal(moved[:, :16], z[:, :16])
    read, before = (matrix(x).readout()["hflip"] for x in (moved, z))
    torch.testing.assert_close(read, (before + 0.2).clamp(0, 1), atol=2e-3, rtol=0)
    torch.testing.assert_close(matrix(moved).content, matrix(z).content, atol=1e-5, rtol=0)
    by = torch.tensor([-9.0, 9.0, 0.0, 0.0, 0.0])
    ends = matrix(steer(matrix, z, "hflip", by)).readout()["hflip"]
    torch.testing.assert_close(ends[:2], torch.tensor([0.0, 1.0]), atol=2e-3, rtol=0)
    with pytest.raises(ValueError, match="one of rotation, hflip, got 'scale'"):
        steer(matrix, z, "scale", 0.1)


def test_a_model_comes_back_bit_for_bit_and_no_pickle_is_written(tmp_path):
    factors = (TURN, hflip(bins=4))
    options = {"split": (24, 8), "pool": "sum", "relative": ["rotation"]}
    model = small(factors, weights={"rotation": 7.0, "hflip": 0.0}, **options)
    model.step(images(), generator=draws())  # batch norms have seen something
    path = tmp_path / "model.safetensors"
    model.eval().save(path)
    before = torch.random.get_rng_state()
    again = Duet.load(path)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not again.training
    assert again.matrix.factors == factors
    assert (again.matrix.pool, again.matrix.widths) == ("sum", (24, 8))
    assert (again.loss.weights, again.loss.relative) == (model.loss.weights, {"rotation"})
    mine, theirs = model.state_dict(), again.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert torch.equal(again.features(images()), model.features(images()))
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]


def test_an_encoder_and_a_head_of_your_own_are_given_again(tmp_path):
    def encoder():
        return nn.Sequential(nn.Flatten(), nn.Linear(144, 16))

    model = Duet(encoder(), [TURN], features=16, head=nn.Linear(2, 3))
    model.save(tmp_path / "x")
    again = Duet.load(tmp_path / "x", encoder=encoder(), head=nn.Linear(2, 3))
    assert torch.equal(again.features(images()), model.features(images()))
    with pytest.raises(ValueError, match="the encoder was one of yours: give encoder="):
        Duet.load(tmp_path / "x", head=nn.Linear(2, 3))
    with pytest.raises(ValueError, match="does not fit the module"):
        Duet.load(tmp_path / "x", encoder=encoder(), head=nn.Linear(2, 4))


def test_a_loaded_model_trains_on(tmp_path):
    model = small()
    model.save(tmp_path / "x")
    again = Duet.load(tmp_path / "x", view=model.view)
    again.train().step(images(), generator=draws()).loss.backward()
    with pytest.raises(ValueError, match="needs view=ParamView"):
        Duet.load(tmp_path / "x").step(images(), generator=draws())


def test_pickles_and_files_that_do_not_fit_are_refused(tmp_path):
    path = tmp_path / "x"
    torch.save(small().state_dict(), path)
    with pytest.raises(ValueError, match="is a pickle, which is not loaded"):
        Duet.load(path)
    path.write_bytes(pickle.dumps(3))
    with pytest.raises(ValueError, match="is a pickle"):
        Duet.load(path)
    small().save(path)
    tensors, _ = read_tensors(path, format="duet model")
    save_file(tensors, path)
    with pytest.raises(ValueError, match="no header of ours"):
        Duet.load(path)
    small().save(path)
    data = path.read_bytes()
    for old, new, message in (
        (b'\\"features\\": 32,', b'\\"features\\": 33,', "split must be 1 numbers of sum 33"),
        (b'\\"pool\\": \\"mean\\"', b'\\"pool\\": \\"meen\\"', "pool must be"),
        (b'\\"hidden\\"', b'\\"hidder\\"', "hidder"),
        (b'\\"version\\": 1', b'\\"version\\": 2', "version must be 1, got 2"),
    ):
        assert old in data
        path.write_bytes(data.replace(old, new))
        with pytest.raises(ValueError, match=message):
            Duet.load(path)


def test_autocast_keeps_the_loss_in_float32():
    model = small().eval()
    plain = model.step(images(), generator=draws()).loss.detach()
    with torch.autocast("cpu", torch.bfloat16):
        narrow = model.step(images(), generator=draws()).loss.detach()
    assert narrow.dtype == torch.float32
    assert float((narrow - plain).abs() / plain) < 1e-2


def test_says_what_came():
    with pytest.raises(ValueError, match="Flatten has no num_features"):
        Duet(nn.Flatten(), [TURN])
    with pytest.raises(ValueError, match=r"\(33\) must be a multiple of its bins \(8\)"):
        small(features=33)
    with pytest.raises(ValueError, match=r"view must draw rotation.*it has none of that name"):
        small(view=ParamView([scale()]))
    with pytest.raises(ValueError, match=r"view must draw rotation: 8 bins.*it has rotation: 6"):
        small(view=ParamView([rotation(bins=6)]))
    with pytest.raises(ValueError, match="at least 2 images, got 1"):
        small().step(images(1), generator=draws())
    with pytest.raises(ValueError, match=r"must return \(B, 16\), got \(8, 144\)"):
        Duet(nn.Flatten(), [TURN], features=16).features(images())
    assert replace(TURN, bins=6) != TURN


def test_essl_is_simclr_and_four_turns_of_a_small_view():
    view = ParamView([scale(low=0.25)])
    torch.manual_seed(0)
    essl = ESSL(ConvNet(1, features=32, widths=(4, 4, 8, 8)), view, weight=0.7).eval()
    simclr = SimCLR(essl.encoder, view, head=essl.head).eval()
    x, g = images(), draws()
    pair = simclr.step(x, generator=g)
    crops = ParamView([scale(low=0.05)], size=6)(x, g).image
    total, count = 0.0, 0
    for row in crops:
        for k in range(4):
            logits = essl.predictor(essl.features(row.rot90(k, (1, 2))[None]))
            total, count = total - logits.log_softmax(1)[0, k], count + 1
    got = essl.step(images(), generator=draws())
    torch.testing.assert_close(got.content, pair.loss)
    torch.testing.assert_close(got.group["quarter turn"], total / count, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(got.loss, pair.loss + 0.7 * total / count, rtol=1e-4, atol=1e-4)


def test_essl_learns_quarter_turns_and_its_weight_0_is_simclr():
    torch.manual_seed(0)
    encoder = ConvNet(1, features=32, widths=(4, 4, 8, 8))
    x = images(32) * 0.2
    x[:, :, :4] = 0.9  # a bright band at the top
    essl = ESSL(encoder, ParamView([scale(low=0.5)]), small=ParamView([scale(low=0.8)], size=8))
    optimizer = torch.optim.Adam(essl.parameters(), lr=1e-2)
    g, told = draws(), []
    for _ in range(25):
        out = essl.step(x, generator=g)
        optimizer.zero_grad()
        out.loss.backward()
        optimizer.step()
        told.append(float(out.group["quarter turn"].detach()))
    assert told[0] > 1.2
    assert told[-1] < 0.3
    free = ESSL(encoder, essl.view, head=essl.head, weight=0.0)
    same = SimCLR(encoder, essl.view, head=essl.head)
    losses = [m.eval().step(x, generator=draws()).loss for m in (free, same)]
    assert torch.equal(*losses)
    with pytest.raises(ValueError, match="square, got"):
        ESSL(encoder, essl.view, small=ParamView([scale()], size=(6, 8))).step(x, generator=g)
    with pytest.raises(ValueError, match="weight must be at least 0, got -1"):
        ESSL(encoder, essl.view, weight=-1)


@pytest.mark.parametrize("kind", [SimCLR, ESSL])
def test_baselines_draw_from_their_generator_and_refuse_one_image(kind):
    torch.manual_seed(0)
    model = kind(ConvNet(1, features=32, widths=(4, 4, 8, 8)), ParamView([TURN]))
    before = torch.random.get_rng_state()
    a, b = (model.step(images(), generator=draws()).loss for _ in range(2))
    assert torch.equal(a, b)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(model(images()), model.features(images())) or model.training
    with pytest.raises(ValueError, match="at least 2 images, got 1"):
        model.step(images(1), generator=draws())


@pytest.mark.parametrize("kind", ["duet", "simclr", "essl"])
def test_every_method_takes_a_pair_objective_of_yours(kind):
    seen = []

    def objective(z1, z2):
        seen.append((tuple(z1.shape), z1.requires_grad))
        return (z1 - z2).square().mean()

    encoder = ConvNet(1, features=32, widths=(4, 4, 8, 8))
    view = ParamView([TURN])
    if kind == "duet":
        model = Duet(encoder, [TURN], view=view, objective=objective)
    else:
        model = (SimCLR if kind == "simclr" else ESSL)(encoder, view, objective=objective)
    model.step(images(), generator=draws()).loss.backward()
    assert seen == [((8, 64), True)]
    assert isinstance(model.head, ProjectionHead)
