"""Group 2 of the suite: training whose teacher is an average, at a batch and at a larger one."""

import pytest
import torch
from ema_scaling import Constant, ModelEMA, Parabola, Recipe, rule_gap, scale
from er_ssl import DistillationERLoss
from tenfold.at_batch import Training, gap
from tenfold.data.images import Split, fashion_mnist
from tenfold.feedback import byol

FEEDBACK = 0.8
BASE = {"lr": 0.001, "decay": 0.999, "samples": 8192}


@pytest.mark.parametrize(("kappa", "bound", "control"), [(8, 0.005, 0.2), (64, 0.03, 0.25)])
def test_with_feedback_the_model_keeps_its_course_only_by_the_rule(kappa, bound, control):
    problem = Parabola(feedback=FEEDBACK)
    assert rule_gap(problem, kappa, **BASE).theta <= bound
    assert rule_gap(problem, kappa, scaled=False, **BASE).theta >= control


def test_without_feedback_the_model_does_not_care():
    gaps = [rule_gap(Parabola(), 64, scaled=scaled, **BASE) for scaled in (True, False)]
    assert gaps[0].theta == gaps[1].theta
    assert gaps[0].zeta < 0.1 * gaps[1].zeta


@pytest.mark.parametrize("kappa", [1, 16])
@pytest.mark.parametrize("rule", [True, False])
def test_torch_with_modelema_as_teacher_walks_the_parabolas_mean(kappa, rule):
    model = torch.nn.Linear(1, 1, bias=False).double()
    torch.nn.init.ones_(model.weight)
    schedule = Constant(BASE["decay"], batch=1 if rule else kappa)
    teacher, lr = ModelEMA(model, schedule, batch=kappa), BASE["lr"] * kappa
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    x = torch.ones(1, 1, dtype=torch.float64)
    path = [(1.0, 1.0)]
    for _ in range(1024 // kappa):
        student, target = model(x), teacher(x)
        loss = (1 - FEEDBACK) * student**2 + FEEDBACK * (student - target) ** 2
        optimizer.zero_grad()
        (loss.sum() / 2).backward()
        optimizer.step()
        teacher.update()
        path.append((float(model(x).detach()), float(teacher(x))))
    decay = BASE["decay"] ** (kappa if rule else 1)
    problem = Parabola(feedback=FEEDBACK, zeta0=1.0)
    want = problem.moments(lr=lr, decay=decay, samples=1024, kappa=kappa)
    theta, zeta = zip(*path, strict=True)
    assert theta == pytest.approx(want.mean_theta, abs=1e-12)
    assert zeta == pytest.approx(want.mean_zeta, abs=1e-12)


@pytest.mark.slow
def test_byol_with_the_entropy_finishes_at_four_times_the_batch_and_is_compared():
    full = fashion_mnist(1024)
    split = Split("part", full.train, full.train_labels, full.test[:256], full.test_labels[:256],
                  full.classes)  # fmt: skip
    recipe = Recipe(batch=32, optimizer="sgd", lr=0.003, ema_decay=0.95, samples=2048)
    scaled = scale(recipe, kappa=4, form="power").recipe
    assert scaled.batch == 128
    assert scaled.ema_decay == pytest.approx(0.95**4)
    objective = DistillationERLoss(10.0, leave_one_out=True)

    def runs(kappa, rule):
        trainings = [Training(recipe, kappa, points=4, seed=seed) for seed in range(2)]
        for training in trainings:
            group = training.scaler([torch.nn.Linear(1, 1)]).optimizer.param_groups[0]
            assert group["lr"] == pytest.approx(recipe.lr if kappa == 1 else scaled.lr)
        return [byol(training, split, rule=rule, objective=objective) for training in trainings]

    base, rule, kept = runs(1, True), runs(4, True), runs(4, False)
    reports = {
        name: (gap(base, rule, (name, name)), gap(base, kept, (name, name)))
        for name in ("alignment", "projection distance", "weight distance")
    }
    assert all(
        r.verdict in ("match", "unclear", "apart") for pair in reports.values() for r in pair
    )
    with_rule, without = reports["weight distance"]
    assert without.rms_gap > 2 * with_rule.rms_gap
