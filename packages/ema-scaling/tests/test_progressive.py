import math

import pytest
import torch
from ema_scaling import (
    BatchSchedule,
    Constant,
    ModelEMA,
    ProgressiveScaler,
    SampleStream,
    scale_optimizer_,
)
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

FACTORIES = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=1e-4),
    "Adam": lambda p: torch.optim.Adam(p, lr=1e-3, betas=(0.95, 0.999), amsgrad=True),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=1e-3, betas=(0.95, 0.999), weight_decay=0.05),
    "RMSprop": lambda p: torch.optim.RMSprop(p, lr=1e-3, alpha=0.99),
}


def optimizer(name, steps=3):
    """An optimizer of two groups with unlike rates, and a state."""
    first, second = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(2))
    made = FACTORIES[name]([{"params": [first]}, {"params": [second], "lr": 0.01}])
    for _ in range(steps):
        for p in (first, second):
            p.grad = torch.full_like(p, 0.5)
        made.step()
    return made


def numbers(made):
    return [
        {k: v for k, v in group.items() if k not in ("params", "foreach", "fused")}
        for group in made.param_groups
    ]


@pytest.mark.parametrize("name", FACTORIES)
@pytest.mark.parametrize("form", ["linear", "power", "exact"])
def test_a_constant_kappa_is_the_static_rule_bit_by_bit(name, form):
    static, moving = optimizer(name), optimizer(name)
    scale_optimizer_(static, 4, form=form)
    scaler = ProgressiveScaler(moving, BatchSchedule((4.0,)), base_batch=8, form=form)
    for _ in range(3):
        scaler.step()
        assert numbers(static) == numbers(moving)
    for a, b in zip(static.state.values(), moving.state.values(), strict=True):
        assert {k: str(v) for k, v in a.items()} == {k: str(v) for k, v in b.items()}


@pytest.mark.parametrize("name", ["Adam", "AdamW", "RMSprop"])
def test_a_jump_moves_second_moments_and_step_counts(name):
    made = optimizer(name)
    before = {
        k: v.clone()
        for k, v in next(iter(made.state.values())).items()
        if isinstance(v, torch.Tensor)
    }
    scale_optimizer_(made, 4, form="power")
    after = next(iter(made.state.values()))
    for key in ("exp_avg_sq", "max_exp_avg_sq", "square_avg", "step"):
        if key in before:
            torch.testing.assert_close(after[key], before[key] / 4)
    if "exp_avg" in before:
        assert torch.equal(after["exp_avg"], before["exp_avg"])
        # the power form keeps the bias correction exactly
        beta = made.param_groups[0]["betas"][1]
        assert beta ** float(after["step"]) == pytest.approx(0.999**3, rel=1e-6)


def test_the_state_can_be_left_alone():
    made, same = optimizer("Adam"), optimizer("Adam")
    scale_optimizer_(made, 4, form="power", rescale_state=False)
    for a, b in zip(made.state.values(), same.state.values(), strict=True):
        assert torch.equal(a["exp_avg_sq"], b["exp_avg_sq"])


def test_every_group_keeps_its_ratio_and_its_convention():
    made = optimizer("AdamW")
    scale_optimizer_(made, 4, form="exact")
    first, second = made.param_groups
    assert first["lr"] / second["lr"] == pytest.approx(0.1)
    assert 1 - first["lr"] * first["weight_decay"] == pytest.approx((1 - 1e-3 * 0.05) ** 4)
    assert 1 - second["lr"] * second["weight_decay"] == pytest.approx((1 - 1e-2 * 0.05) ** 4)
    sgd = optimizer("SGD")
    scale_optimizer_(sgd, 4)
    assert [g["lr"] for g in sgd.param_groups] == [0.4, 0.04]
    assert sgd.param_groups[0]["weight_decay"] == 1e-4
    assert sgd.param_groups[0]["momentum"] == 0.9


def test_a_rate_that_is_a_tensor_is_changed_in_place():
    rate = torch.tensor(1e-3)
    made = torch.optim.Adam([nn.Parameter(torch.ones(1))], lr=rate)
    scale_optimizer_(made, 4)
    assert made.param_groups[0]["lr"] is rate
    assert float(rate) == pytest.approx(2e-3)


def test_an_illegal_form_changes_nothing():
    made = torch.optim.Adam([nn.Parameter(torch.ones(1))], lr=1e-3)
    before = numbers(made)
    with pytest.raises(ValueError, match="largest legal kappa is 10"):
        scale_optimizer_(made, 16)
    with pytest.raises(ValueError, match="largest legal kappa is 10"):
        ProgressiveScaler(made, BatchSchedule.parse("1@0,16@100"), base_batch=8)
    assert numbers(made) == before


def test_an_unknown_optimizer_is_refused_unless_its_family_is_named():
    made = torch.optim.Adagrad([nn.Parameter(torch.ones(1))], lr=0.1)
    with pytest.raises(ValueError, match="no batch-size rule is known for Adagrad"):
        scale_optimizer_(made, 4)
    scale_optimizer_(made, 4, rule="adam")
    assert made.param_groups[0]["lr"] == 0.2
    with pytest.raises(ValueError, match="rule must be one of"):
        scale_optimizer_(made, 4, rule="lamb")


def test_the_total_decay_is_what_the_clock_of_samples_says():
    model = nn.Linear(1, 1)
    for text in ("1@0", "1@0,2@64,4@128", "1@0,4@32"):
        sgd = torch.optim.SGD(model.parameters(), lr=0.1)
        ema = ModelEMA(model, Constant(0.999, batch=8), batch=8)
        scaler = ProgressiveScaler(sgd, BatchSchedule.parse(text), base_batch=8, ema=ema)
        log = 0.0
        while scaler.samples < 512:
            log += math.log(scaler.step().decay)
        assert scaler.samples == ema.samples == 512
        assert log == pytest.approx(64 * math.log(0.999), rel=1e-12)


def test_the_learning_rate_is_read_at_the_clock_and_scaled():
    sgd = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1.0)
    scaler = ProgressiveScaler(
        sgd, BatchSchedule.parse("1@0,2@16"), base_batch=8, lr_schedule=lambda n: 1 / (1 + n)
    )
    rates = [sgd.param_groups[0]["lr"]]
    plans = [scaler.step() for _ in range(3)]
    rates += [plan.lr for plan in plans]
    assert rates == [1, 1 / 9, 2 / 17, 2 / 33]
    assert [plan.batch for plan in plans] == [8, 16, 16]
    assert "at 32 samples: batch 16 (kappa 2)" in str(plans[2].__class__(32, 16, 2.0, 0.1, 1.0))


def test_seesaw_divides_the_rate_in_use_by_the_root_of_two():
    adam = torch.optim.Adam([nn.Parameter(torch.ones(1))], lr=1.0, betas=(0.99, 0.999))
    cuts = [16, 48]
    scaler = ProgressiveScaler(
        adam,
        BatchSchedule.seesaw(cuts),
        base_batch=8,
        lr_schedule=lambda n: 0.5 ** sum(n >= cut for cut in cuts),
    )
    plans = [scaler.step() for _ in range(5)]
    assert [p.batch for p in plans] == [8, 16, 16, 32, 32]
    assert plans[1].lr == pytest.approx(1 / math.sqrt(2))
    assert plans[3].lr == pytest.approx(1 / 2)


def test_a_scaler_s_state_is_refused_at_another_base_batch():
    def made(batch):
        return ProgressiveScaler(optimizer("SGD"), BatchSchedule((1.0,)), base_batch=batch)

    state = made(8).state_dict()
    with pytest.raises(ValueError, match="saved at base batch 8, this scaler has 4: build it with"):
        made(4).load_state_dict(state)
    with pytest.raises(ValueError, match="the state has 1 groups, the optimizer 2"):
        made(8).load_state_dict({**state, "base": state["base"][:1]})


@given(
    dataset=st.integers(5, 60),
    total=st.integers(40, 300),
    cut=st.integers(1, 200),
    seed=st.integers(0, 99),
)
def test_the_stream_visits_each_epoch_whole_and_resumes_anywhere(dataset, total, cut, seed):
    batches = BatchSchedule((1.0, 2.0, 3.0), (0.0, float(cut), cut + 40.0))
    stream = SampleStream(dataset, batches, base_batch=4, total=total, seed=seed)
    steps = list(stream)
    assert len(stream) == len(steps)
    flat = [i for step in steps for i in step]
    assert total - len(flat) < 12
    for start in range(0, len(flat) - dataset + 1, dataset):
        assert sorted(flat[start : start + dataset]) == list(range(dataset))
    position = 0
    for step in steps:
        assert len(step) == batches.batch(position, base_batch=4)
        position += len(step)
    middle = len(steps) // 2
    seen = sum(map(len, steps[:middle]))
    rest = SampleStream(dataset, batches, base_batch=4, total=total, seed=seed, start=seen)
    assert list(rest) == steps[middle:]


def test_every_epoch_and_every_seed_has_an_order_of_its_own():
    def order(seed):
        stream = SampleStream(50, BatchSchedule((1.0,)), base_batch=50, total=100, seed=seed)
        return list(stream)

    first, second = order(0)
    assert first != second
    assert order(0) == [first, second]
    assert order(1)[0] not in (first, second)
    assert first != sorted(first)


def test_processes_share_every_batch_without_overlap():
    batches = BatchSchedule.parse("1@0,2@24")
    parts = [
        list(SampleStream(50, batches, base_batch=6, total=90, rank=r, world_size=3))
        for r in range(3)
    ]
    whole = list(SampleStream(50, batches, base_batch=6, total=90))
    for step, shares in zip(whole, zip(*parts, strict=True), strict=True):
        assert sorted(i for share in shares for i in share) == sorted(step)
        assert len({len(share) for share in shares}) == 1
    with pytest.raises(ValueError, match="a batch of 6 does not split over 4 processes"):
        SampleStream(50, batches, base_batch=6, total=90, world_size=4)
    with pytest.raises(ValueError, match="rank must lie below world_size = 2, got 2"):
        SampleStream(50, batches, base_batch=6, total=90, rank=2, world_size=2)


def test_a_loader_takes_the_stream_as_its_batch_sampler():
    data = torch.arange(30)
    stream = SampleStream(30, BatchSchedule.parse("1@0,2@8"), base_batch=4, total=24)
    loader = torch.utils.data.DataLoader(data, batch_sampler=stream)
    assert [len(batch) for batch in loader] == [4, 4, 8, 8]


@given(
    total=st.integers(1, 5000),
    base=st.integers(1, 64),
    starts=st.lists(st.integers(1, 4000), max_size=4, unique=True),
    data=st.data(),
)
def test_stages_and_steps_say_the_same(total, base, starts, data):
    starts = [0, *sorted(starts)]
    kappas = [data.draw(st.integers(1, 6)) for _ in starts]
    schedule = BatchSchedule(tuple(map(float, kappas)), tuple(map(float, starts)))
    sizes = list(schedule.sizes(total, base_batch=base))
    stages = schedule.stages(total, base_batch=base)
    assert [s.batch for s in stages for _ in range(s.steps)] == sizes
    assert sum(s.stop - s.start for s in stages) == sum(sizes) <= total
    for stage in stages:
        assert schedule.kappa(stage.start) == stage.kappa


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2", r"'2' in '2' is not kappa@start, such as 2@30ep"),
        ("1@0,x@3", "'x@3' in"),
        ("1@0,e@3", "'e@3' in"),
        ("1@5", "starts must begin at 0 and grow"),
        ("1@0,2@5,3@5", "starts must begin at 0 and grow"),
        ("0@0", "kappa must be positive"),
        ("1@0,2@3ep", "counts epochs: say the dataset's size"),
    ],
)
def test_a_schedule_that_cannot_be_read_says_where(text, message):
    with pytest.raises(ValueError, match=message):
        BatchSchedule.parse(text)


def test_a_kappa_that_splits_a_sample_is_refused():
    with pytest.raises(ValueError, match=r"kappa = 1\.5 makes a batch of 3 into 4\.5"):
        BatchSchedule((1.5,)).batch(0, base_batch=3)
    with pytest.raises(ValueError, match="kappas and starts must pair up, got 2 and 1"):
        BatchSchedule((1.0, 2.0))
