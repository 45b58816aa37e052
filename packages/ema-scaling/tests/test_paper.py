"""The claim at small scale: a real net at eight times the batch, with the rule and without it.

A two-layer net learns a noisy teacher; the EMA's test loss at equal samples is judged by
``compare``. Six seeds a side; the bounds are one seed spread (match) and three (apart).
"""

import json

import pytest
import torch
from ema_scaling import Constant, ModelEMA, Recipe, compare, scale
from ema_scaling.cli import main
from torch import nn

BASE = Recipe(batch=32, optimizer="sgd", lr=0.02, ema_decay=0.995, samples=24_576)
SEEDS = range(6)


def problem():
    g = torch.Generator().manual_seed(123)
    hidden, out = torch.randn(16, 20, generator=g) / 4, torch.randn(20, 1, generator=g) / 4

    def draw(n, generator):
        x = torch.randn(n, 16, generator=generator)
        return x, torch.tanh(x @ hidden) @ out + 0.3 * torch.randn(n, 1, generator=generator)

    return draw


def train(recipe, decay, seed):
    """Rows of samples and the EMA's test loss, every 2,048 samples."""
    draw = problem()
    test_x, test_y = draw(2000, torch.Generator().manual_seed(1))
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=recipe.lr)
    ema = ModelEMA(model, decay, batch=recipe.batch)
    data = torch.Generator().manual_seed(1000 + seed)
    rows = []
    while ema.samples < BASE.samples:
        x, y = draw(recipe.batch, data)
        loss = (model(x) - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        ema.update()
        if ema.samples % 2048 == 0:
            value = float((ema(test_x) - test_y).square().mean())
            rows.append({"samples": ema.samples, "loss": value, "seed": seed})
    return rows


@pytest.fixture(scope="module")
def runs():
    large = scale(BASE, kappa=8).recipe
    settings = {
        "base": (BASE, Constant(BASE.ema_decay, batch=32)),
        "rule": (large, Constant(large.ema_decay, batch=256)),
        "kept": (large, Constant(BASE.ema_decay, batch=256)),
    }
    return {name: [train(*setting, seed) for seed in SEEDS] for name, setting in settings.items()}


def test_with_the_rule_the_runs_match_and_without_it_they_are_apart(runs):
    with_rule = compare(runs["base"], runs["rule"], "loss")
    without = compare(runs["base"], runs["kept"], "loss")
    assert with_rule.verdict == "match", str(with_rule)
    assert without.verdict == "apart", str(without)
    assert without.p_value < 0.05


def test_the_command_line_returns_the_same_verdicts(runs, tmp_path):
    for name, group in runs.items():
        (tmp_path / name).mkdir()
        for i, rows in enumerate(group):
            text = "\n".join(json.dumps(row) for row in rows)
            (tmp_path / name / f"{i}.jsonl").write_text(text)
    assert main(["compare", str(tmp_path / "base"), str(tmp_path / "rule")]) == 0
    assert main(["compare", str(tmp_path / "base"), str(tmp_path / "kept")]) == 1
