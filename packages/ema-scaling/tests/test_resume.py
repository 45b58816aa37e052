"""State in memory and on disk: bitwise resume, and what is refused."""

import json

import pytest
import torch
from ema_scaling import BatchSchedule, Constant, Cosine, ModelEMA, ProgressiveScaler
from ema_scaling.files import read_header
from safetensors import safe_open
from torch import nn


def build(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Linear(5, 1))


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("precision", ["fp32", "compensated", "stochastic"])
@pytest.mark.parametrize("through", ["memory", "file"])
def test_a_resumed_average_goes_on_bit_by_bit(precision, through, tmp_path, move):
    options = {
        "precision": precision,
        "update_every": 3,
        "corrected": True,
        "buffers": "average",
        "batch": 4,
    }
    model = build()
    ema = ModelEMA(model, Cosine(0.9, total=200, batch=2), **options)
    for _ in range(7):
        move(model)
        ema.update()
    other = build(1)
    other.load_state_dict(model.state_dict())
    resumed = ModelEMA(other, Cosine(0.9, total=200, batch=2), **options)
    if through == "file":
        ema.save_safetensors(tmp_path / "ema.safetensors")
        resumed.load_safetensors(tmp_path / "ema.safetensors")
    else:
        resumed.load_state_dict(ema.state_dict())
    assert resumed.clock == ema.clock
    for _ in range(8):
        move(model)
        other.load_state_dict(model.state_dict())
        assert ema.update() == resumed.update()
    assert equal(ema.average.shadow, resumed.average.shadow)
    assert equal(ema.average.residual, resumed.average.residual)
    assert torch.equal(ema.generator.get_state(), resumed.generator.get_state())
    assert equal(ema.weights(), resumed.weights())


class Run:
    """A real little training: Adam, kappa 1 to 2 to 4, an EMA with a cosine decay."""

    def __init__(self):
        g = torch.Generator().manual_seed(5)
        self.x, self.y = torch.randn(160, 3, generator=g), torch.randn(160, 1, generator=g)
        self.model = build()
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-2)
        schedule = Cosine(0.99, total=400, batch=4)
        self.ema = ModelEMA(self.model, schedule, batch=4, precision="stochastic")
        batches = BatchSchedule.parse("1@0, 2@60, 4@140")
        self.scaler = ProgressiveScaler(
            self.optimizer, batches, base_batch=4, ema=self.ema,
            lr_schedule=lambda n: 1 - n / 1000,
        )  # fmt: skip

    def train(self, steps):
        stream = iter(self.scaler.stream(160, total=10_000, seed=3))
        for _ in range(steps):
            rows = next(stream)
            loss = (self.model(self.x[rows]) - self.y[rows]).square().mean()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.plan = self.scaler.step()


def test_a_killed_progressive_run_resumes_bit_by_bit(tmp_path):
    whole = Run()
    whole.train(40)
    assert whole.scaler.kappa == 4

    killed = Run()
    killed.train(17)
    assert killed.scaler.kappa == 2
    killed.ema.save_safetensors(tmp_path / "ema.safetensors")
    others = {
        "model": killed.model.state_dict(),
        "optimizer": killed.optimizer.state_dict(),
        "scaler": json.dumps(killed.scaler.state_dict()),
    }
    torch.save(others, tmp_path / "rest.pt")

    resumed = Run()
    stored = torch.load(tmp_path / "rest.pt", weights_only=True)
    resumed.model.load_state_dict(stored["model"])
    resumed.optimizer.load_state_dict(stored["optimizer"])
    resumed.scaler.load_state_dict(json.loads(stored["scaler"]))
    resumed.ema.load_safetensors(tmp_path / "ema.safetensors")
    resumed.train(23)
    assert equal(whole.model.state_dict(), resumed.model.state_dict())
    assert equal(whole.ema.average.shadow, resumed.ema.average.shadow)
    for a, b in zip(whole.optimizer.state.values(), resumed.optimizer.state.values(), strict=True):
        assert equal(a, b)
    assert whole.plan == resumed.plan


def test_another_batch_without_kappa_is_refused_and_the_message_has_the_fix(tmp_path):
    path = tmp_path / "ema.safetensors"
    ModelEMA(build(), Constant(0.99, batch=256), batch=256).save_safetensors(path)
    large = ModelEMA(build(), Constant(0.99, batch=256), batch=4096)
    before = {k: v.clone() for k, v in large.average.shadow.items()}
    with pytest.raises(ValueError, match=r"saved at batch 256, this average runs at batch 4096: "
                       r"pass kappa=16 .*or build it with batch=256"):  # fmt: skip
        large.load_safetensors(path)
    assert equal(large.average.shadow, before)
    with pytest.raises(ValueError, match="kappa = 8 does not lead from batch 256 to batch 4096"):
        large.load_safetensors(path, kappa=8)
    large.load_safetensors(path, kappa=16)
    same_batch = ModelEMA(build(), Constant(0.99, batch=256), batch=256)
    same_batch.load_safetensors(path)


def test_another_schedule_readout_precision_or_model_is_refused(tmp_path):
    path = tmp_path / "ema.safetensors"
    ModelEMA(build(), 0.99).save_safetensors(path)
    with pytest.raises(ValueError, match=r"the state's schedule is .*pass strict=False"):
        ModelEMA(build(), 0.9).load_safetensors(path)
    ModelEMA(build(), 0.9).load_safetensors(path, strict=False)
    with pytest.raises(ValueError, match="the state's corrected is False"):
        ModelEMA(build(), 0.99, corrected=True).load_safetensors(path)
    with pytest.raises(ValueError, match="build it with precision='fp32'"):
        ModelEMA(build(), 0.99, precision="stochastic").load_safetensors(path)
    with pytest.raises(ValueError, match=r"belongs to another model: absent \[\], unknown \['1\."):
        ModelEMA(nn.Sequential(nn.Linear(3, 5)), 0.99).load_safetensors(path)
    other = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    with pytest.raises(ValueError, match=r"average of 0\.weight is \(5, 3\).*the model's \(4, 3\)"):
        ModelEMA(other, 0.99).load_safetensors(path)


def test_what_is_no_state_is_refused():
    ema = ModelEMA(build(), 0.99)
    with pytest.raises(ValueError, match="this is no state of ema-scaling: it has"):
        ema.load_state_dict({"weights": 1})
    with pytest.raises(ValueError, match="version 2, this package reads 1"):
        ema.load_state_dict({**ema.state_dict(), "version": 2})
    with pytest.raises(ValueError, match="clock is malformed"):
        ema.load_state_dict({**ema.state_dict(), "clock": {"hour": 12}})


def test_damaged_files_are_refused_before_anything_changes(tmp_path):
    path = tmp_path / "ema.safetensors"
    ema = ModelEMA(build(), 0.99)
    ema.save_safetensors(path)
    whole = path.read_bytes()
    for cut in (0, 4, 20, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match=r"truncated|no safetensors"):
            ema.load_safetensors(path)
    path.write_bytes(whole.replace(b"0.99", b"0.98", 1))
    with pytest.raises(ValueError, match="does not match its fingerprint"):
        ema.load_safetensors(path)
    path.write_bytes((2).to_bytes(8, "little") + b"[]")
    with pytest.raises(ValueError, match="header is malformed"):
        ema.load_safetensors(path)


def test_the_file_is_plain_safetensors_with_the_recipe_in_its_header(tmp_path):
    path = tmp_path / "ema.safetensors"
    ema = ModelEMA(build(), Constant(0.99, batch=8), batch=8, buffers={"*.running_*": "average"})
    ema.update()
    ema.save_safetensors(path)
    with safe_open(path, framework="pt") as file:
        assert file.metadata()["format"] == "ema-scaling"
        recipe = json.loads(file.metadata()["recipe"])
        assert recipe["schedule"] == {"kind": "Constant", "decay_at_batch": 0.99, "batch": 8}
        assert "shadow.0.weight" in file.keys()  # noqa: SIM118
    metadata, header = read_header(path)
    assert json.loads(metadata["clock"])["seen"] == 8
    assert header["shadow.0.weight"]["shape"] == [5, 3]


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "ema.safetensors"
    ema = ModelEMA(build(), 0.99)
    ema.save_safetensors(path)
    before = path.read_bytes()

    def broken(tensors, filename, metadata):
        filename.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr("ema_scaling._store.save_file", broken)
    with pytest.raises(OSError, match="no space left"):
        ema.save_safetensors(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_malformed_generator_is_refused_before_anything_changes():
    ema, other = ModelEMA(nn.Linear(3, 2), 0.9), ModelEMA(nn.Linear(3, 2), 0.9)
    before = {name: tensor.clone() for name, tensor in ema.weights().items()}
    for spoilt in (torch.zeros(5056, dtype=torch.uint8), torch.zeros(3), torch.zeros(0)):
        with pytest.raises(ValueError, match="generator is malformed"):
            ema.load_state_dict({**other.state_dict(), "generator": spoilt})
        assert all(torch.equal(before[name], now) for name, now in ema.weights().items())
    ema.load_state_dict(other.state_dict())
