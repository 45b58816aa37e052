"""Two gloo processes on one machine: shards of FSDP2, replicas, distributed checkpoints."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn

pytestmark = pytest.mark.distributed


def network():
    torch.manual_seed(0)
    # 5 rows over 2 processes: uneven shards
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1))


def step(model, optimizer, seed):
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(seed))
    optimizer.zero_grad()
    model(x).square().mean().backward()
    optimizer.step()


def sharded():
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    model = network()
    mesh = init_device_mesh("cpu", (2,))
    for layer in (model[0], model[2]):
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


def check_shards(rank, folder):
    from ema_scaling import ModelEMA

    one, many = network(), sharded()
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.1) for m in (one, many)]
    options = {"batch": 8, "update_every": 2, "corrected": True, "on_nonfinite": "raise"}
    for precision in ("fp32", "compensated", "stochastic"):
        whole = ModelEMA(one, 0.9, precision=precision, **options)
        parts = ModelEMA(many, 0.9, precision=precision, **options)
        for seed in range(4):
            for model, optimizer in zip((one, many), optimizers, strict=True):
                step(model, optimizer, seed)
            whole.update()
            parts.update()
        loose = {"rtol": 2**-7, "atol": 1e-2} if precision == "stochastic" else {}
        for name, want in whole.weights().items():
            shard = parts.average.shadow[name]
            assert shard.to_local().numel() <= 9, "only this process's part is kept"
            torch.testing.assert_close(parts.weights()[name].full_tensor(), want, **loose)
        raw = {n: p.full_tensor().clone() for n, p in many.named_parameters()}
        x = torch.ones(2, 3)
        with parts.swap():
            if precision != "stochastic":
                torch.testing.assert_close(many(x), whole(x))
        for name, parameter in many.named_parameters():
            assert torch.equal(parameter.full_tensor(), raw[name])
        with pytest.raises(RuntimeError, match=r"use swap\(\) or copy_to\(\)"):
            parts(x)
        with pytest.raises(ValueError, match=r"save it with torch\.distributed\.checkpoint"):
            parts.save_safetensors(folder / "ema.safetensors")


def check_nonfinite_on_one_rank(rank, folder):
    from ema_scaling import ModelEMA

    model = sharded()
    ema = ModelEMA(model, 0.9, on_nonfinite="skip")
    if rank == 1:
        with torch.no_grad():
            model[0].weight.to_local()[0, 0] = float("nan")
    assert ema.update() == 1.0
    assert ema.samples == 0


def check_distributed_checkpoint(rank, folder):
    import torch.distributed.checkpoint as dcp
    from ema_scaling import Cosine, ModelEMA

    def build():
        model = sharded()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        schedule = Cosine(0.9, total=1000, batch=8)
        return model, optimizer, ModelEMA(model, schedule, batch=8, precision="compensated")

    model, optimizer, ema = build()
    for seed in range(3):
        step(model, optimizer, seed)
        ema.update()
    dcp.save({"ema": ema}, checkpoint_id=folder / "dcp")
    wanted = {k: v.full_tensor().clone() for k, v in ema.average.shadow.items()}
    rest = {k: v.full_tensor().clone() for k, v in ema.average.residual.items()}

    _, _, fresh = build()
    dcp.load({"ema": fresh}, checkpoint_id=folder / "dcp")
    assert fresh.clock == ema.clock
    for name, tensor in wanted.items():
        assert torch.equal(fresh.average.shadow[name].full_tensor(), tensor)
        assert torch.equal(fresh.average.residual[name].full_tensor(), rest[name])


def check_replicas(rank, folder):
    from ema_scaling import ModelEMA

    model = nn.parallel.DistributedDataParallel(network())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    ema = ModelEMA(model, 0.9, batch=16, precision="stochastic")
    assert sorted(ema.weights()) == ["0.bias", "0.weight", "2.bias", "2.weight"]
    for seed in range(3):
        step(model, optimizer, 10 * seed + rank)
        ema.update()
    for shadow in ema.average.shadow.values():
        gathered = [torch.empty_like(shadow) for _ in range(2)]
        dist.all_gather(gathered, shadow)
        assert torch.equal(*gathered), "replicas round alike"
    ema(torch.ones(1, 3))


CHECKS = (
    check_shards, check_nonfinite_on_one_rank, check_distributed_checkpoint, check_replicas,
)  # fmt: skip


def process(rank, folder):
    """One of the two processes: all checks, each with its outcome in a file."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/rendezvous", rank=rank, world_size=2)
    for check in CHECKS:
        check(rank, folder)
        (folder / f"{check.__name__}-{rank}").write_text("passed")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gloo")
    started = [
        subprocess.Popen(
            [sys.executable, __file__, str(rank), str(folder)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    texts = []
    try:
        texts = [each.communicate(timeout=100)[0] for each in started]
    finally:
        for each in started:
            each.kill()
    return folder, "\n".join(texts)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_two_processes_agree(check, outcomes):
    folder, text = outcomes
    for rank in range(2):
        assert (folder / f"{check.__name__}-{rank}").exists(), text[-3000:]


if __name__ == "__main__":
    process(int(sys.argv[1]), Path(sys.argv[2]))
