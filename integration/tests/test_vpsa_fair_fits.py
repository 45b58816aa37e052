"""vpsa-fair audits encoders that er-ssl, duet and lv-ssl trained: a plant is found, labels are not.

Every image stands for itself: is it still recognised among others once it is disturbed? Camera b
takes in less light. Images are standardised first, so clean ones do not show it; noise does.
"""

from functools import cache

import numpy as np
import pytest
import torch
import vpsa_fair as vf
from duet import ParamView, rotation, scale
from duet.encoders import ConvNet
from duet.harness import fit
from duet.model import Duet
from er_ssl import ERLoss
from lv_ssl import StochasticContrastiveLoss, StochasticHead, fit_head
from tenfold.augment import plain
from tenfold.data.images import fashion_mnist
from tenfold.encoders import small_encoder
from tenfold.methods import contrastive
from tenfold.training import Schedule, train
from torch import nn

IMAGES = 120
SPLIT = fashion_mnist(512)
TEST = np.ascontiguousarray(SPLIT.test[:IMAGES].transpose(0, 2, 3, 1))
CAMERA = np.array(["a", "b"])[np.arange(IMAGES) % 2]


class Mean(nn.Module):
    """An encoder and a stochastic head as one module: images to the mean of their posterior."""

    def __init__(self, encoder, head):
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, x):
        return self.head(self.encoder(x)).mean


def train_er_ssl():
    torch.manual_seed(0)
    method = contrastive(small_encoder(1), ERLoss(kappa=10.0), features=128)
    schedule = Schedule(epochs=2, batch=128, lr=2e-3)
    train(method.modules, torch.tensor(SPLIT.train), method.step, schedule=schedule, seed=0)
    return method.encoder


def train_duet():
    torch.manual_seed(0)
    encoder = ConvNet(1, features=32, widths=(4, 8, 16, 16))
    duet = Duet(encoder, [rotation()], view=ParamView([scale(low=0.25), rotation()]))
    x = torch.tensor(SPLIT.train).float() / 255
    fit(duet, x, steps=12, batch=64, generator=torch.Generator().manual_seed(0),
        progress=lambda done, total: None)  # fmt: skip
    return nn.Sequential(Unit(), duet.encoder)


class Unit(nn.Module):
    """From -1 to 1, as the others take images, to 0 to 1."""

    def forward(self, x):
        return (x + 1) / 2


def train_lv_ssl():
    encoder = train_er_ssl()
    x = plain(torch.tensor(SPLIT.train))
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        seen = [encoder.eval()(x + 0.1 * torch.randn(x.shape, generator=g)) for _ in range(2)]
    torch.manual_seed(0)
    head = StochasticHead(128, 32, "vmf")
    fit_head(head, *seen, loss=StochasticContrastiveLoss(estimator="mc", samples=2), epochs=3)
    return Mean(encoder, head)


MAKERS = {"er-ssl": train_er_ssl, "duet": train_duet, "lv-ssl": train_lv_ssl}
EACH = pytest.mark.parametrize("name", MAKERS)


@cache
def trained(name):
    return MAKERS[name]()


def audit(model, plant):
    pixels = TEST.copy()
    if plant:
        pixels[CAMERA == "b"] = vf.exposure("down", [4])(TEST[CAMERA == "b"], 4.0)
    data = vf.Faces.from_arrays(pixels, attributes={"camera": CAMERA})
    perturbations = [vf.gaussian_noise([8, 16, 32]), vf.occlusion([0.1, 0.2])]
    protocol = vf.Verification(fmr=0.02, pairs="same-image")
    seen = nn.Sequential(nn.GroupNorm(1, 1, affine=False), model)
    return vf.Audit(vf.torch_embedder(seen), data, perturbations, protocol, progress=False)


@EACH
def test_the_audit_sees_what_the_module_answers(name):
    model = trained(name)
    with torch.inference_mode():
        wanted = model.eval()(plain(torch.tensor(SPLIT.test[:5]))).numpy()
    np.testing.assert_allclose(vf.torch_embedder(model)(TEST[:5]), wanted, rtol=1e-4, atol=1e-5)


@EACH
def test_a_plant_that_clean_images_do_not_show_is_found_and_its_control_is_not(name):
    result = audit(trained(name), plant=True).run()
    clean = result.estimates("camera").areas["response"][:2, 0]
    assert abs(clean[0] - clean[1]) <= 0.02
    first = result.targeted(top=1)[0]
    assert (first.group, first.perturbation) == ("b", "gaussian_noise")
    assert first.disparity > 0.2
    assert first.p_adjusted < 0.01
    control = audit(trained(name), plant=False).run()
    assert min(f.p_adjusted for f in control.targeted()) > 0.05


def test_a_module_left_in_training_is_refused():
    model = trained("er-ssl").train()

    def careless(images):
        with torch.no_grad():
            return model(plain(torch.tensor(images.transpose(0, 3, 1, 2)))).numpy()

    broken = audit(model, plant=False)
    broken.embed = careless
    model.train()
    with pytest.raises(vf.ModelError, match="in training mode"):
        broken.run()
