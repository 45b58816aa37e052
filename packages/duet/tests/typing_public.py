"""The public API as a user's type checker sees it."""

from typing import assert_type

import torch
from duet import (
    ConvNet,
    Decoder,
    Duet,
    DuetLoss,
    DuetLossOutput,
    DuetMatrix,
    DuetOutput,
    Factor,
    ParamView,
    SimCLR,
    View,
    equivariance_report,
    gaussian_target,
    group_loss,
    hflip,
    js_divergence,
    nt_xent,
    read_kornia,
    relative_group_loss,
    rotation,
    scale,
    set_parameter,
    shift,
    transform,
    von_mises_target,
)
from torch import Tensor

generator = torch.Generator().manual_seed(0)
x, p = torch.rand(8, 3, 32, 32), torch.rand(8)
turn: Factor = rotation(bins=8, kappa=3.0)
assert_type(turn.target(p), Tensor)
assert_type(turn.readout(von_mises_target(p, 8)), Tensor)
assert_type(turn.identity_p, float)
assert_type(Factor.from_config(turn.to_config()), Factor)
assert_type(scale(low=0.5).draw(8, generator=generator), Tensor)
assert_type(gaussian_target(p, bins=8, sigma=0.2), Tensor)

view = ParamView([scale(), turn, hflip()], size=(32, 32), ratio=(0.75, 1.33), mask=True)
drawn = view(x, generator)
assert_type(drawn, View)
assert_type(drawn.params, dict[str, Tensor])
assert_type(view.apply(x, drawn.params), Tensor)
assert_type(transform(x, turn, 0.75), Tensor)
assert_type(read_kornia({"RandomRotation": {"degrees": p}}, [turn]), dict[str, Tensor])

matrix = DuetMatrix(256, [turn], pool="sum")
out = matrix(torch.randn(8, 256))
assert_type(out, DuetOutput)
assert_type(out.content, Tensor)
assert_type(out.logits, tuple[Tensor, ...])
assert_type(out.readout(), dict[str, Tensor])
assert_type(matrix.content_features, int)

loss = DuetLoss([turn], nt_xent, weights={"rotation": 500}, relative=["rotation"])
terms = loss(out, out, out.content, out.content, {"rotation": p}, {"rotation": p})
assert_type(terms, DuetLossOutput)
assert_type(terms.loss, Tensor)
assert_type(terms.group, dict[str, Tensor])
assert_type(group_loss(out.logits[0], p, turn), Tensor)
assert_type(relative_group_loss(out.logits[0], out.logits[0], p, p, turn), Tensor)
assert_type(js_divergence(out.logits[0], turn.target(p)), Tensor)

assert_type(shift(out.matrix[0], turn, 0.1), Tensor)
assert_type(set_parameter(torch.randn(8, 8, 4), scale(), p), Tensor)

model = Duet(ConvNet(3, features=256), [turn], view=view, objective=lambda a, b: nt_xent(a, b))
assert_type(model.step(x, generator=generator).loss, Tensor)
assert_type(SimCLR(ConvNet(3), view).features(x), Tensor)
report = equivariance_report(model, x, turn, generator=generator, decoder=Decoder(256, 3, 32))
assert_type(report.rows[0].moved, float)
