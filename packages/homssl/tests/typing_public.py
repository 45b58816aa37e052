"""The public API as a user's type checker sees it."""

from typing import assert_type

import torch
from homssl import (
    ASSL,
    HSSL,
    Certificate,
    Cyclic,
    Dihedral,
    EMATeacher,
    FailureCell,
    Group,
    GroupBatchNorm2d,
    GroupConv2d,
    GroupMean,
    GroupPool2d,
    LiftConv2d,
    Product,
    Scale,
    SSLOutput,
    SweepCell,
    Translation,
    assert_homomorphic,
    cosine_regression,
    equivariance_error,
    expand_kernel,
    fibers,
    group_convnet,
    group_resnet,
    info_nce,
    parse_group,
    plot_certificate,
    run_failure_cell,
    run_sweep_cell,
    sample_elements,
    step_seconds,
    synthetic_images,
    turned_kernels,
    unstructured,
)
from torch import Tensor, nn

generator = torch.Generator().manual_seed(0)
x = torch.randn(8, 1, 28, 28)
group: Group = Cyclic(4)
p4 = Product(Cyclic(4), Translation((7, 7), margin=1))

assert_type(group.act(x, 1), Tensor)
assert_type(p4.order, int)
assert_type(p4.grid, tuple[int, int] | None)
assert_type(Scale(3, factor=2).exact, bool)
assert_type(Dihedral(3, allow_approximate=True).distance(torch.tensor(0), torch.tensor(1)), Tensor)
assert_type(parse_group("c4"), Group)

lift = LiftConv2d(1, 8, 3, group, stride=2, size=29, padding_mode="zeros", bias=False)
nn.Sequential(lift, GroupBatchNorm2d(8, group), GroupPool2d(2, group, kind="max"))
nn.Sequential(GroupConv2d(8, 8, 3, group), GroupMean("group"))
assert_type(expand_kernel(lift.weight, turned_kernels(Cyclic(4), 3), None), Tensor)

elements = sample_elements(group, 8, generator=generator, views=3, max_distance=2)
assert_type(elements, Tensor)
assert_type(fibers(torch.randn(8, 5, 4), group, group.base(2), elements[0]), Tensor)

encoder = group_convnet(group)
hssl = HSSL(encoder, group, head=nn.Linear(20, 8), objective=info_nce, views=2, base_size=1)
assl = ASSL(encoder, group, objective=lambda a, b: cosine_regression(a, b), predictor=nn.Identity())
assl.teacher = EMATeacher(assl.branch, decay=0.9)
out = hssl(x, generator=generator)
assert_type(out, SSLOutput)
assert_type(out.loss, Tensor)
assert_type(hssl([x, x], elements=torch.cat([out.elements] * 2)).views, Tensor)
assert_type(out.to_table(), dict[str, list[int]])

certificate = equivariance_error(unstructured(encoder), x, group, atol=1e-3, output="regular")
assert_type(certificate, Certificate)
assert_type(certificate.passed, bool | None)
assert_type(certificate.first_failing, str | None)
assert_type(certificate.layers[0].error, float)
assert_type(assert_homomorphic(group_resnet(group, in_channels=1), x, group).max_error, float)
plot_certificate(certificate).savefig("errors.svg")

data = synthetic_images(64, generator=generator)
assert_type(run_failure_cell(data[0], data[0], net="plain", loss="h", seed=0), FailureCell)
assert_type(run_sweep_cell(data, data, base_size=1, distance=2, seed=0), SweepCell)
assert_type(step_seconds({"h": hssl, "a": assl}, x, turns=3), dict[str, float])
