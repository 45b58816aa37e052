"""The public API as a user's type checker sees it."""

from typing import assert_type

import act_steer as act
import numpy as np
import torch
from torch import Tensor, nn

a, b = torch.zeros(3, 2), np.zeros((4, 2))
linear = act.LinearTransport.fit(a, b, (np.ones(3), None), support=(0.1, 0.9), max_scale=3.0)
assert_type(linear, act.LinearTransport)
assert_type(linear.scale, Tensor)
assert_type(linear(a, 0.5), Tensor)
assert_type(linear.inverse(), act.AffineTransport)
assert_type(act.QuantileTransport.fit(a, b, knots=3), act.QuantileTransport)
assert_type(act.AurA.fit(a, b, support="all"), act.AurA)
assert_type(act.FullGaussianTransport.fit(a, b), act.FullGaussianTransport)
maps: list[act.Transport] = [linear, act.MeanTransport.fit(a, b), act.GaussianTransport.fit(a, b)]
chain: act.Transport = act.ChainTransport.of(*maps)
assert_type(act.quality(chain, a, b).w2, Tensor)

net = nn.Sequential(nn.Linear(2, 2))
steering = act.fit(net, [a], [a], modules=["0"], method="mean", order="simultaneous")
assert_type(steering, act.Steering)
assert_type(steering["0"], act.Transport)
assert_type(steering.restrict(top=0.5).negate().then(steering), act.Steering)
assert_type(act.load("maps.safetensors"), act.Steering)
assert_type(steering.report().rows[0].rho, float)
assert_type(act.collect(lambda: net(a), net, "norms", pool="max"), dict[str, Tensor])
assert_type(act.pool(a, lambda x, mask: x[:, 0]), Tensor)
runs = [act.Run(lambda: net(a), True), act.Run(lambda: net(a), False)]
assert_type(act.fit_runs(net, runs, ["0"], act.Recipe("linear")), dict[str, act.Transport])
with steering.apply(net, strength={"0": 0.5}) as attachment:
    assert_type(attachment, act.Attachment)
assert_type(act.attach(steering, net, mode="module"), act.Attachment)
