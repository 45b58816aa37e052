import json
import math

import pytest
import torch
from ema_scaling import Recipe, from_optimizer, half_life, scale
from ema_scaling.dialects import detect, read, write
from ema_scaling.files import dump_table, read_table, write_text
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

SGD = Recipe(
    batch=256, optimizer="sgd", lr=0.1, momentum=0.9, weight_decay=1e-4, ema_decay=0.9999,
    epochs=90, dataset_size=1_281_167, warmup_epochs=5,
)  # fmt: skip
ADAMW = Recipe(
    batch=256, optimizer="adamw", lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05,
    weight_decay_convention="lr-decoupled",
)  # fmt: skip


def codes(scaled):
    return {caution.code for caution in scaled.cautions}


def test_the_imagenet_recipe_at_sixteen_times_the_batch():
    scaled = scale(SGD, to_batch=4096)
    new = scaled.recipe
    assert new.lr == pytest.approx(1.6)
    assert new.ema_decay == pytest.approx(0.99840119944, abs=1e-11)
    assert new.momentum == 0.9
    assert new.weight_decay == 1e-4
    before, after = half_life(0.9999, batch=256), half_life(new.ema_decay, batch=4096)
    assert after == pytest.approx(before, rel=1e-9)
    assert scaled.total_steps == 28_150
    assert scaled.missing_samples == 2560
    assert "28150 steps; 2560 samples left out" in str(scaled)


def test_adamw_at_sixteen_times_the_batch():
    with pytest.raises(ValueError, match=r"beta1 = 0\.9 .*largest legal kappa is 10;"):
        scale(ADAMW, to_batch=4096)
    new = scale(ADAMW, to_batch=4096, form="power").recipe
    assert new.betas == pytest.approx((0.18530, 0.98412), abs=5e-6)
    assert new.eps == pytest.approx(2.5e-9)
    assert new.lr == pytest.approx(4e-3)
    assert new.weight_decay == pytest.approx(0.2)
    exact = scale(ADAMW, to_batch=4096, form="exact").recipe
    got = 1 - exact.lr * exact.weight_decay
    assert got == pytest.approx((1 - 1e-3 * 0.05) ** 16, rel=1e-14)


@given(
    batch=st.integers(1, 2000),
    new=st.integers(1, 4000),
    epochs=st.integers(1, 20),
    dataset=st.integers(6100, 100_000),
)
def test_samples_and_epochs_are_kept_to_less_than_one_batch(batch, new, epochs, dataset):
    base = Recipe(batch=batch, optimizer="sgd", lr=0.1, epochs=epochs, dataset_size=dataset)
    scaled = scale(base, to_batch=new)
    done = scaled.total_steps * new
    assert 0 <= base.total_samples - done == scaled.missing_samples < new
    assert scaled.recipe.epochs == epochs


@given(steps=st.integers(100, 10_000), batch=st.integers(1, 64), warm=st.integers(0, 500))
def test_steps_and_warmups_move_to_the_same_samples(steps, batch, warm):
    base = Recipe(
        batch=batch, optimizer="sgd", lr=0.1, steps=steps, warmup_steps=warm,
        intervals={"eval": 50.0},
    )  # fmt: skip
    new = scale(base, kappa=4).recipe
    assert new.steps == steps // 4
    assert new.warmup_steps * new.batch == pytest.approx(warm * batch)
    assert new.intervals["eval"] == 12


@given(first=st.sampled_from([0.5, 2, 4]), second=st.sampled_from([0.5, 2, 8]))
def test_scaling_twice_is_scaling_once(first, second):
    for base in (SGD, ADAMW):
        twice = scale(scale(base, kappa=first, form="power").recipe, kappa=second, form="power")
        once = scale(base, kappa=first * second, form="power")
        for name in ("lr", "eps", "weight_decay", "ema_decay"):
            value = getattr(once.recipe, name)
            if value is not None:
                assert getattr(twice.recipe, name) == pytest.approx(value, rel=1e-12)


def test_a_kappa_of_one_changes_nothing():
    for base in (SGD, ADAMW):
        scaled = scale(base, kappa=1)
        assert scaled.recipe == base
        assert scaled.diff() == {}


def test_other_averages_and_ends_of_schedules_move_too():
    base = SGD.with_(
        other_decays={"centre": 0.9}, ema_decay_end=1.0, min_lr=1e-3, weight_decay_end=1e-3,
        bn_momentum=0.1, ema_half_life=None, devices=8,
    )  # fmt: skip
    scaled = scale(base, kappa=2)
    assert scaled.recipe.other_decays["centre"] == pytest.approx(0.81)
    assert scaled.recipe.ema_decay_end == 1
    assert scaled.recipe.min_lr == pytest.approx(2e-3)
    assert scaled.recipe.bn_momentum == pytest.approx(0.19)
    assert {"cosine", "batchnorm"} <= codes(scaled)
    more_devices = scale(base, kappa=2, devices=16)
    assert more_devices.recipe.bn_momentum == 0.1
    assert "batchnorm" not in codes(more_devices)
    kept = scale(SGD.with_(ema_decay=None, ema_half_life=1e6), kappa=2)
    assert kept.recipe.ema_half_life == 1e6


def test_a_cosine_from_the_power_is_reported_with_its_error():
    base = Recipe(
        batch=1, optimizer="sgd", lr=0.1, steps=10_000, ema_decay=0.996, ema_decay_end=1.0
    )
    (text,) = [c.text for c in scale(base, kappa=64).cautions if c.code == "cosine"]
    assert text.startswith("a cosine from decay ** kappa forgets about -3.2% over the run")


@pytest.mark.parametrize(
    ("changes", "kappa", "code"),
    [
        ({"ema_decay": 0.99}, 64, "first-order"),
        ({"max_lr": 0.5}, 16, "stability"),
        ({"batchnorm": True}, 2, "batchnorm"),
        ({"contrastive": True}, 2, "contrastive"),
        ({"grad_clip": 1.0}, 2, "grad-clip"),
        ({"dataset_size": 5000}, 4, "full-batch"),
        ({}, 16, "rounding"),
        ({"extra": {"patience": 3}}, 2, "unscaled"),
    ],
)
def test_what_is_not_preserved_is_said_by_code(changes, kappa, code):
    assert code in codes(scale(SGD.with_(**changes), kappa=kappa))
    assert code not in codes(scale(SGD.with_(epochs=None), kappa=2))


def test_adam_s_assumptions_are_said():
    unsaid = ADAMW.with_(eps=None, weight_decay_convention=None)
    assert {"eps", "wd-convention"} <= codes(scale(unsaid, kappa=2))
    assert codes(scale(ADAMW, kappa=2)) == set()
    assert "first-order" in codes(scale(ADAMW, kappa=4))


def test_an_unknown_optimizer_is_refused_but_its_family_may_be_named():
    lamb = SGD.with_(optimizer="lamb")
    with pytest.raises(ValueError, match="no batch-size rule is known for optimizer 'lamb'"):
        scale(lamb, kappa=2)
    assert scale(lamb, kappa=4, rule="adam").recipe.lr == pytest.approx(0.2)
    with pytest.raises(ValueError, match="for optimizer 'nonsense'"):
        scale(SGD, kappa=2, rule="nonsense")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: scale(SGD), "give either to_batch or kappa, got None and None"),
        (lambda: scale(SGD, kappa=2, to_batch=9), "give either to_batch or kappa, got 9 and 2"),
        (lambda: scale(SGD, kappa=math.nan), "kappa must be finite"),
        (lambda: scale(SGD, kappa=0.001), "makes the batch 0.256; it must be a whole number"),
        (lambda: scale(SGD, to_batch=-4), "to_batch must be at least 1, got -4"),
        (lambda: scale(SGD, kappa=2, form="cubic"), "form must be one of linear, power, exact"),
        (lambda: scale(SGD.with_(epochs=None, steps=3), to_batch=4096), "fewer than one batch"),
        (lambda: SGD.with_(steps=3), "epochs and steps say the same thing"),
        (lambda: SGD.with_(ema_half_life=3.0), "ema_decay and ema_half_life say the same"),
        (lambda: SGD.with_(weight_decay=-1.0), "weight_decay must not be negative, got -1"),
        (lambda: SGD.with_(batch=0), "batch must be at least 1"),
        (lambda: SGD.with_(ema_decay=2.0), r"ema_decay must lie in \[0, 1\]"),
        (lambda: SGD.with_(dataset_size=100, epochs=1), "has 100 samples, fewer than one batch"),
        (lambda: Recipe.from_dict({"batch": 1}), "the recipe lacks optimizer, lr; it has"),
    ],
)
def test_bad_recipes_name_field_and_value(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"batch": "32"}, "batch must be a whole number, got '32'"),
        ({"batch": True}, "batch must be a whole number, got True"),
        ({"lr": "0.1"}, "lr must be a number, got '0.1'"),
        ({"optimizer": 3}, "optimizer must be a name, got 3"),
        ({"betas": 0.9}, "betas must be a list of numbers, got 0.9"),
        ({"intervals": 3}, "intervals must be a table, got 3"),
    ],
)
def test_values_of_the_wrong_type_are_type_errors(values, message):
    with pytest.raises(TypeError, match=message):
        Recipe.from_dict({"batch": 32, "optimizer": "sgd", "lr": 0.1, **values})


def test_a_recipe_survives_a_file_of_each_format(tmp_path):
    rich = ADAMW.with_(
        other_decays={"centre": 0.9}, extra={"name": 'a "quoted" näme', "on": True, "list": [1, 2]}
    )
    for suffix in (".toml", ".json", ".yaml"):
        path = tmp_path / f"recipe{suffix}"
        write_text(path, dump_table(rich.to_dict(), suffix))
        assert Recipe.from_dict(read_table(path)) == rich


def test_a_report_is_text_markdown_and_a_table():
    scaled = scale(ADAMW, kappa=4)
    assert "| lr | 0.001 | 0.002 | sqrt |" in scaled.to_markdown()
    assert "- `first-order`" in scaled.to_markdown()
    table = scaled.to_table()
    assert len({len(column) for column in table.values()}) == 1
    assert scaled.diff()["lr"] == (1e-3, 2e-3)
    assert "caution [first-order]" in str(scaled)


TIMM = {
    "batch_size": 128, "grad_accum_steps": 2, "opt": "adamw", "lr": 1e-3, "weight_decay": 0.05,
    "opt_betas": None, "model_ema": True, "model_ema_decay": 0.9998, "epochs": 300,
    "warmup_epochs": 5, "min_lr": 1e-5, "seed": 42,
}  # fmt: skip
HF = {
    "per_device_train_batch_size": 8, "gradient_accumulation_steps": 4, "learning_rate": 5e-5,
    "adam_beta1": 0.9, "adam_beta2": 0.999, "adam_epsilon": 1e-8, "weight_decay": 0.01,
    "max_steps": 10_000, "warmup_steps": 500, "logging_steps": 10, "eval_steps": 200,
}  # fmt: skip
DINO = {
    "batch_size_per_gpu": 64, "world_size": 16, "optimizer": "adamw", "lr": 0.0005,
    "min_lr": 1e-6, "weight_decay": 0.04, "weight_decay_end": 0.4, "momentum_teacher": 0.996,
    "epochs": 100, "warmup_epochs": 10,
}  # fmt: skip


def test_dialects_are_told_apart():
    assert [detect(d) for d in (TIMM, HF, DINO, {"batch": 1})] == ["timm", "hf", "dino", "native"]


@pytest.mark.parametrize("args", [TIMM, HF, DINO], ids=["timm", "hf", "dino"])
def test_a_kappa_of_one_writes_every_argument_back(args):
    dialect = detect(args)
    written = write(args, scale(read(args, dialect), kappa=1), dialect)
    for name, value in args.items():
        if value is not None:
            assert written[name] == pytest.approx(value), name


def test_timm_counts_devices_and_accumulation():
    recipe = read(TIMM, "timm", devices=8)
    assert recipe.batch == 2048
    written = write(TIMM, scale(recipe, kappa=0.25, devices=2), "timm")
    assert written["batch_size"] == 128
    assert written["lr"] == pytest.approx(5e-4)
    assert written["model_ema_decay"] == pytest.approx(0.9998**0.25)
    assert written["opt_betas"] == pytest.approx([0.975, 0.99975])
    assert written["seed"] == 42
    from_base = {**TIMM, "lr": None, "lr_base": 1e-3}
    assert read(from_base, "timm", devices=8).lr == pytest.approx(1e-3 * math.sqrt(2048 / 256))
    sgd = {**from_base, "opt": "sgd", "momentum": 0.9}
    assert read(sgd, "timm", devices=8).lr == pytest.approx(8e-3)


def test_hf_steps_and_intervals_move_on_the_clock():
    written = write(HF, scale(read(HF, "hf", devices=2), kappa=2), "hf")
    assert written["per_device_train_batch_size"] == 16
    assert written["max_steps"] == 5000
    assert written["warmup_steps"] == 250
    assert written["eval_steps"] == 100
    assert written["learning_rate"] == pytest.approx(5e-5 * math.sqrt(2))
    assert written["adam_beta1"] == pytest.approx(0.8)


def test_dino_s_own_linear_scaling_is_taken_into_account():
    """Its code uses lr * batch / 256: the rate in use must grow by sqrt(kappa), no more."""
    recipe = read(DINO, "dino")
    assert recipe.lr == pytest.approx(0.0005 * 1024 / 256)
    written = write(DINO, scale(recipe, kappa=4), "dino")
    used = written["lr"] * written["batch_size_per_gpu"] * 16 / 256
    assert used == pytest.approx(2 * recipe.lr)
    assert written["momentum_teacher"] == pytest.approx(0.996**4)
    assert written["weight_decay"] == pytest.approx(0.08)
    sgd = {**DINO, "optimizer": "sgd"}
    assert write(sgd, scale(read(sgd, "dino"), kappa=4), "dino")["lr"] == pytest.approx(0.0005)


def test_dialects_refuse_what_they_do_not_know():
    with pytest.raises(ValueError, match=r"no batch-size rule is known for opt = 'lamb'"):
        read({**TIMM, "opt": "lamb"}, "timm")
    with pytest.raises(ValueError, match=r"no batch-size rule is known for optim = 'adafactor'"):
        read({**HF, "optim": "adafactor"}, "hf")
    with pytest.raises(ValueError, match="the arguments lack learning_rate"):
        read({"per_device_train_batch_size": 1}, "hf")
    with pytest.raises(TypeError, match="batch_size must be a whole number, got '64'"):
        read({**TIMM, "batch_size": "64"}, "timm")
    with pytest.raises(ValueError, match="does not split over 2 devices with 4 accumulation"):
        write(HF, scale(read(HF, "hf", devices=2), to_batch=12), "hf")
    with pytest.raises(ValueError, match="dialect must be one of native, timm, hf, dino"):
        read(TIMM, "keras")


def test_a_torch_optimizer_is_read():
    weights = [nn.Parameter(torch.ones(2))]
    adam = torch.optim.AdamW(weights, lr=1e-3, weight_decay=0.1)
    recipe = from_optimizer(adam, batch=64, ema_decay=0.99)
    assert (recipe.optimizer, recipe.betas, recipe.ema_decay) == ("adamw", (0.9, 0.999), 0.99)
    assert recipe.weight_decay_convention == "lr-decoupled"
    assert from_optimizer(torch.optim.Adam(weights), batch=1).weight_decay_convention == "coupled"
    assert from_optimizer(torch.optim.RMSprop(weights), batch=1).betas == (0.99,)
    groups = [{"params": weights}, {"params": [nn.Parameter(torch.ones(1))], "lr": 1.0}]
    with pytest.raises(
        ValueError, match=r"the groups differ in lr \(0\.001, 1\.0\): use scale_opt"
    ):
        from_optimizer(torch.optim.SGD(groups, lr=1e-3), batch=1)
    with pytest.raises(ValueError, match="no batch-size rule is known for Adagrad"):
        from_optimizer(torch.optim.Adagrad(weights), batch=1)


def test_scaling_two_hundred_keys_takes_less_than_ten_milliseconds():
    import time

    rich = SGD.with_(extra={f"key_{i}": i for i in range(200)})
    times = []
    for _ in range(5):
        start = time.process_time()
        scale(rich, kappa=4)
        times.append(time.process_time() - start)
    assert min(times) < 0.01
    assert json.dumps(scale(rich, kappa=4).recipe.to_dict())
