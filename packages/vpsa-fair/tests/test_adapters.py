import subprocess
import sys
import warnings

import numpy as np
import pytest
from vpsa_fair.adapters import dlib_embedder, onnx_embedder, planes, torch_embedder
from vpsa_fair.audit import Audit
from vpsa_fair.errors import ModelError
from vpsa_fair.levels import linear
from vpsa_fair.perturb import gaussian_blur
from vpsa_fair.synthetic import synthetic_faces
from vpsa_fair.verification import Verification


def noise(n=3, side=4):
    return np.random.default_rng(0).integers(0, 256, (n, side, side, 3), dtype=np.uint8)


def test_planes_are_scaled_ordered_and_channels_first():
    images = noise()
    got = planes(images, mean=[0.1, 0.2, 0.3], std=[1, 2, 4], channels="bgr")
    assert got.shape == (3, 3, 4, 4)
    assert got.dtype == np.float32
    for channel, (source, mean, std) in enumerate([(2, 0.1, 1), (1, 0.2, 2), (0, 0.3, 4)]):
        want = (images[..., source] / 255 - mean) / std
        np.testing.assert_allclose(got[:, channel], want, atol=1e-6)
    assert planes(images[..., :1], mean=0, std=1, channels="rgb", size=(2, 6)).shape == (3, 1, 2, 6)
    with pytest.raises(ValueError, match="'gbr'"):
        planes(images, mean=0, std=1, channels="gbr")


def test_a_torch_module_is_a_model_in_evaluation_mode():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3),
        torch.nn.BatchNorm2d(4),
        torch.nn.Flatten(),
        torch.nn.Linear(16, 5),
    )
    images = noise()
    images.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch warns of read-only arrays
        got = torch_embedder(net)(images)
    assert not net.training
    x = torch.from_numpy(images.astype(np.float32)).permute(0, 3, 1, 2) / 255
    np.testing.assert_allclose(got, net((x - 0.5) / 0.5).detach().numpy(), atol=1e-5)
    assert torch_embedder(net, size=(4, 4), device="cpu")(noise(side=8)).shape == (3, 5)
    with pytest.raises(ModelError, match="must return a tensor, got tuple"):
        torch_embedder(Twice())(images)


def test_a_torch_module_goes_through_an_audit():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.AvgPool2d(4), torch.nn.Flatten(), torch.nn.Linear(108, 32))
    data = synthetic_faces(8, 3, size=24)
    audit = Audit(
        torch_embedder(net), data, [gaussian_blur(linear(1, 2, 2))], Verification("accuracy")
    )
    assert audit.run().counts.rate("genuine", np.ones(8, bool))[0] > 0.5


class Twice:
    """Not a module, but close enough to be called like one."""

    def eval(self):
        return self

    def parameters(self):
        return iter(())

    buffers = parameters

    def __call__(self, x):
        return x, x


def test_the_core_never_imports_torch_and_starts_fast():
    code = (
        "import sys, vpsa_fair, vpsa_fair.audit, vpsa_fair.adapters, vpsa_fair.synthetic\n"
        "heavy = {'torch', 'scipy', 'pandas', 'matplotlib', 'onnxruntime', 'dlib'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == "[]"


def test_a_missing_library_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(ModelError, match=r"onnxruntime is missing: install vpsa-fair\[onnx\]"):
        onnx_embedder("model.onnx")
    with pytest.raises(ModelError, match=r"dlib is missing: install vpsa-fair\[dlib\]"):
        dlib_embedder()


def linear_onnx(weights, batch):
    """The bytes of an ONNX file that flattens and multiplies, written field by field."""

    def number(value):
        out = b""
        while value > 127:
            out += bytes([value & 127 | 128])
            value >>= 7
        return out + bytes([value])

    def field(tag, content):
        if isinstance(content, int):
            return number(tag << 3) + number(content)
        content = content.encode() if isinstance(content, str) else content
        return number(tag << 3 | 2) + number(len(content)) + content

    def node(kind, inputs, output):
        names = b"".join(field(1, name) for name in inputs)
        return field(1, names + field(2, output) + field(4, kind))

    def value(name, shape):
        dims = b"".join(field(1, field(1, d) if isinstance(d, int) else field(2, d)) for d in shape)
        return field(1, name) + field(2, field(1, field(1, 1) + field(2, dims)))

    rows, cols = weights.shape
    held = field(1, rows) + field(1, cols) + field(2, 1) + field(8, "w")
    held += field(9, weights.astype("<f4").tobytes())
    graph = node("Flatten", ["x"], "flat") + node("MatMul", ["flat", "w"], "y")
    graph += field(2, "g") + field(5, held)
    graph += field(11, value("x", [batch, 3, 2, 2])) + field(12, value("y", [batch, cols]))
    return field(1, 8) + field(8, field(2, 13)) + field(7, graph)


@pytest.mark.parametrize("batch", ["n", 1])
def test_an_onnx_file_is_a_model(tmp_path, batch):
    pytest.importorskip("onnxruntime")
    weights = np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32)
    (tmp_path / "m.onnx").write_bytes(linear_onnx(weights, batch))
    images = noise(side=2)
    got = onnx_embedder(tmp_path / "m.onnx")(images)
    x = planes(images, mean=0.5, std=0.5, channels="rgb").reshape(3, -1)
    np.testing.assert_allclose(got, x @ weights, atol=1e-5)


def test_says_which_file_is_no_onnx_model(tmp_path):
    pytest.importorskip("onnxruntime")
    (tmp_path / "m.onnx").write_bytes(b"nothing")
    with pytest.raises(ModelError, match=r"m\.onnx cannot be read as an ONNX model"):
        onnx_embedder(tmp_path / "m.onnx")


@pytest.mark.slow
def test_dlibs_face_network_runs_and_tells_drawn_faces_apart():
    pytest.importorskip("dlib")
    pytest.importorskip("face_recognition_models")
    data = synthetic_faces(12, 3, size=150, seed=2)
    embed = dlib_embedder()
    protocol = Verification("accuracy", similarity="euclidean")
    audit = Audit(embed, data, [gaussian_blur([8.0])], protocol, groups=["tone"])
    result = audit.run()
    assert audit.spent.sweep == 72
    everybody = np.ones(12, bool)
    clean = [result.counts.rate(name, everybody)[0] for name in ("genuine", "impostor")]
    blurred = [result.counts.rate(name, everybody)[1] for name in ("genuine", "impostor")]
    assert np.mean(clean) > 0.8
    assert np.mean(blurred) < np.mean(clean)
    small = embed(data.pixels[:2, ::2, ::2, :1])
    assert small.shape == (2, 128)


def test_says_which_weights_are_not_there(tmp_path):
    pytest.importorskip("dlib")
    with pytest.raises(ModelError, match=r"there are no weights .*none\.dat"):
        dlib_embedder(tmp_path / "none.dat")
