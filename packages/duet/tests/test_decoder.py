import pytest
import torch
from duet.decoder import Decoder, _noisy, fit_decoder


def pictures(n=64, seed=0):
    g = torch.Generator().manual_seed(seed)
    return (torch.rand(n, 1, 4, 4, generator=g) > 0.5).float()


def encode(x):
    return x.flatten(1) * 2 - 1


def still(x, generator):
    return x


def error(found, true):
    return float((found - true).detach().square().mean())


@pytest.mark.parametrize(("size", "channels"), [(28, 1), (32, 3), ((17, 30), 2), (1, 1)])
def test_an_image_of_any_size_comes_out_in_0_to_1(size, channels):
    image = Decoder(10, channels, size)(10 * torch.randn(3, 10)).detach()
    height, width = (size, size) if isinstance(size, int) else size
    assert image.shape == (3, channels, height, width)
    assert 0 <= float(image.min()) <= float(image.max()) <= 1


def test_what_the_features_hold_is_decoded_and_what_they_do_not_is_not():
    """150 steps on binary pictures, whose variance is 0.25."""
    x, options = pictures(32), {"draw": still, "steps": 150, "batch": 16, "lr": 1e-2}
    found = fit_decoder(encode, x, generator=torch.Generator().manual_seed(0), **options)
    assert not found.training
    assert error(found(encode(x)), x) < 0.05

    def blind(x):
        return torch.zeros(len(x), 16)

    found = fit_decoder(blind, x, generator=torch.Generator().manual_seed(0), **options)
    assert error(found(blind(x)), x) > 0.2


def test_it_is_the_drawn_view_that_is_decoded():
    def flipped(x, generator):
        return x.flip(3)

    def upright(x):  # an encoder that sees the picture as it was before
        return encode(x.flip(3))

    x = pictures(32)
    found = fit_decoder(upright, x, draw=flipped, steps=150, batch=16, lr=1e-2,
                        generator=torch.Generator().manual_seed(0))  # fmt: skip
    shown = found(encode(x))
    assert error(shown, x.flip(3)) < 0.05
    assert error(shown, x) > 0.2


def test_batches_and_views_come_from_the_generator_alone():
    def noisy(x, generator):
        return (x + 0.1 * torch.rand(x.shape, generator=generator)).clamp(max=1)

    made = []
    for _ in range(2):
        torch.manual_seed(0)
        fresh = Decoder(16, 1, 4)
        before = torch.random.get_rng_state()
        fit_decoder(encode, pictures(), draw=noisy, steps=3, batch=8, decoder=fresh,
                    generator=torch.Generator().manual_seed(4))  # fmt: skip
        assert torch.equal(torch.random.get_rng_state(), before)
        made.append(fresh)
    first, second = (torch.cat([p.flatten() for p in d.parameters()]) for d in made)
    assert torch.equal(first, second)


def test_the_encoder_gets_no_gradient_and_progress_is_told():
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 16))
    seen = []
    fit_decoder(net, pictures(), draw=still, steps=2, batch=8, generator=torch.Generator(),
                progress=lambda *at: seen.append(at))  # fmt: skip
    assert all(p.grad is None for p in net.parameters())
    assert seen == [(1, 2), (2, 2)]


def test_the_noise_has_the_size_of_the_features_and_comes_from_the_generator():
    torch.manual_seed(0)
    z = torch.randn(4000, 3) * torch.tensor([1.0, 10.0, 0.0]) + 5
    before = torch.random.get_rng_state()
    a, b = (_noisy(z, 0.5, torch.Generator().manual_seed(1)) - z for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(a, b)
    torch.testing.assert_close(a.std(0), torch.tensor([0.5, 5.0, 0.0]), rtol=0.05, atol=0)
    assert _noisy(z, 0.0, torch.Generator()) is z


def test_with_noise_it_withstands_features_that_are_a_little_off():
    """120 steps each, on features of four times as many dimensions as the picture has pixels."""
    spread = torch.randn(16, 64, generator=torch.Generator().manual_seed(3)) / 4

    def far(x):
        return encode(x) @ spread

    x, errors = pictures(256), []
    off = 0.7 * torch.randn(256, 64, generator=torch.Generator().manual_seed(4))
    for noise in (0.0, 0.7):
        torch.manual_seed(0)
        made = fit_decoder(far, x, draw=still, steps=120, batch=32, noise=noise, lr=5e-3,
                           generator=torch.Generator().manual_seed(0))  # fmt: skip
        errors.append(error(made(far(x) + off), x))
    assert errors[1] < 0.9 * errors[0]


def test_says_what_came():
    g = torch.Generator()
    with pytest.raises(ValueError, match="width at least 4"):
        Decoder(10, width=3)
    with pytest.raises(ValueError, match="features 0"):
        Decoder(0)
    with pytest.raises(ValueError, match="batch 128"):
        fit_decoder(encode, pictures(), generator=g, draw=still)
    with pytest.raises(ValueError, match="in 0 to 1, as the decoder's, got 0 to 255"):
        fit_decoder(encode, 255 * pictures(), generator=g, draw=still, batch=8)
    with pytest.raises(ValueError, match="noise must be at least 0 and finite, got -1"):
        fit_decoder(encode, pictures(), generator=g, draw=still, batch=8, noise=-1)
    with pytest.raises(FloatingPointError, match="nan at step 1"):
        fit_decoder(
            lambda x: x.flatten(1) * torch.nan, pictures(), generator=g, draw=still, batch=8
        )
