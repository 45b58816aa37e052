"""The methods that er-ssl's station and study compare, each as the parts that training needs."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from er_ssl import (
    DiscreteERLoss,
    DistillationERLoss,
    effective_rank,
    embedding_std,
    er_bound,
    plugin_entropy,
)
from torch import Tensor, nn

from tenfold.augment import views
from tenfold.data.images import Split
from tenfold.encoders import mlp
from tenfold.probes import Accuracy, knn_probe, linear_probe
from tenfold.training import EMATeacher, Schedule, Step, embed, pair_step, train

KAPPA = 10.0  # of every trace, whatever the objective's own
Drawn = TypeVar("Drawn", bound=nn.Module)


@dataclass
class Method:
    """What training needs of a method, and what is watched.

    Attributes:
        encoder: ``(B, C, H, W) -> (B, F)``, what is probed.
        modules: all that is trained, the encoder among them.
        step: the loss of a batch.
        online: view -> what predicts, ``(B, D)`` embeddings or ``(B, M)`` logits.
        target: view -> what is predicted.
        after_step: where a teacher moves.
        before_epoch: where clusters are found anew.
        temperatures: of student and target logits, where there are clusters; None on the sphere.
    """

    encoder: nn.Module
    modules: list[nn.Module]
    step: Step
    online: Callable[[Tensor], Tensor]
    target: Callable[[Tensor], Tensor]
    after_step: Callable[[int], None] = field(default=lambda done: None)
    before_epoch: Callable[[int], None] = field(default=lambda epoch: None)
    temperatures: tuple[float, float] | None = None


def contrastive(
    encoder: nn.Module,
    objective: Callable[[Tensor, Tensor], Tensor],
    *,
    features: int,
    dim: int = 64,
) -> Method:
    """Return SimCLR's frame around any pair objective: one projector, both views online."""
    model = nn.Sequential(encoder, mlp(features, features, dim))
    return Method(encoder, [model], pair_step(model, objective), model, model)


def distillation(
    encoder: nn.Module,
    *,
    decay: float,
    predictor: bool,
    entropy_weight: float,
    features: int,
    dim: int = 64,
    kappa: float = KAPPA,
) -> Method:
    """Return BYOL's frame; ``entropy_weight`` 0 is BYOL's own loss up to scale, 1 is BYOL + ER.

    Args:
        encoder: what is trained and averaged.
        decay: of the teacher; 0 is a teacher that equals the student.
        predictor: whether the online branch has one.
        entropy_weight: of the online projection's entropy, leave-one-out.
        features: width of the encoder's output.
        dim: width of the projection.
        kappa: of the loss.
    """
    projector = mlp(features, features, dim)
    student = nn.Sequential(encoder, projector)
    predict: nn.Module = mlp(dim, features, dim) if predictor else nn.Identity()
    teacher = EMATeacher(student, decay)
    loss = DistillationERLoss(kappa, entropy_weight=entropy_weight, leave_one_out=True)

    def step(view1: Tensor, view2: Tensor, rows: Tensor) -> Tensor:
        both = torch.cat([view1, view2])
        z = student(both)
        (z1, z2), (p1, p2), (t1, t2) = z.chunk(2), predict(z).chunk(2), teacher(both).chunk(2)
        return (loss(p1, z1, t2) + loss(p2, z2, t1)) / 2

    return Method(
        encoder,
        [student, predict],
        step,
        online=lambda view: predict(student(view)),
        target=teacher,
        after_step=lambda done: teacher.update(),
    )


@dataclass(frozen=True)
class Run:
    """One training run, measured.

    Attributes:
        probe: linear probe of the encoder's features on the test rows.
        knn: neighbour probe of the same.
        std: spread of the online embeddings' directions, 0 (one point) to 1.
        rank: effective rank of the encoder's features on the test rows.
        loss: of the last step.
        trace: columns ``step``, ``entropy``, ``reconstruction``, ``bound``, ``entropy_floor``,
            ``entropy_ceiling``, ``ceiling``, nats, on 512 fixed training images.
    """

    probe: Accuracy
    knn: Accuracy
    std: float
    rank: float
    loss: float
    trace: dict[str, list[float]]


class Trace:
    """Entropy and reconstruction of two fixed views of fixed images, at chosen steps.

    What is trained is in eval mode meanwhile; a teacher normalises by its batch, as when it taught.
    """

    def __init__(self, method: Method, images: Tensor, total: int, *, points: int = 24) -> None:
        generator = torch.Generator().manual_seed(0)
        rows = images[:512]
        self.views = views(rows, generator), views(rows, generator)
        self.method = method
        self.at = {round(total * n / points) for n in range(points + 1)}
        self.columns: dict[str, list[float]] = {}

    @torch.no_grad()
    def __call__(self, step: int) -> None:
        """Add a row if this step is one of the chosen."""
        if step not in self.at:
            return
        for module in self.method.modules:
            module.eval()
        online, target = self.method.online(self.views[0]), self.method.target(self.views[1])
        for module in self.method.modules:
            module.train()
        row = {"step": float(step)} | _terms(online, target, self.method.temperatures)
        for name, value in row.items():
            self.columns.setdefault(name, []).append(value)


def _terms(
    online: Tensor, target: Tensor, temperatures: tuple[float, float] | None
) -> dict[str, float]:
    """The entropy of what is predicted, and how well it is predicted."""
    if temperatures is None:
        terms = er_bound(online, target, kappa=KAPPA)
        return dict(zip(*terms.to_table().values(), strict=True))
    terms = DiscreteERLoss(*temperatures).terms(online, target)
    row = dict(zip(*terms.to_table().values(), strict=True))
    row["entropy"] = float(plugin_entropy(target / temperatures[1], logits=True))
    row["bound"] = row["entropy"] + row["reconstruction"]
    return row


def fit(
    method: Method,
    split: Split,
    *,
    schedule: Schedule,
    seed: int,
    device: str = "cpu",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Run:
    """Train a method on a split's training images, without labels, and measure it.

    Args:
        method: what to train; its modules are moved to the device by the caller.
        split: images and labels; the labels are the probes' only.
        schedule: epochs, batch, learning rate; 0 epochs measures the encoder as it is.
        seed: of batches and views.
        device: where the images go.
        progress: called with steps done and steps in all.

    Returns:
        `Run`.
    """
    images = torch.tensor(split.train, device=device)
    total = schedule.steps(len(images))
    trace = Trace(method, images, total)

    def after_step(done: int) -> None:
        method.after_step(done)
        trace(done)
        progress(done, total)

    trace(0)
    losses = train(
        method.modules,
        images,
        method.step,
        schedule=schedule,
        seed=seed,
        after_step=after_step,
        before_epoch=method.before_epoch,
    )
    return measure(method, split, images, losses[-1] if losses else math.nan, trace.columns)


@torch.no_grad()
def measure(
    method: Method, split: Split, images: Tensor, loss: float, trace: dict[str, list[float]]
) -> Run:
    """Probe the encoder and look at the spread of what it gives."""
    test = torch.tensor(split.test, device=images.device)
    labels = torch.tensor(split.train_labels, device=images.device)
    test_labels = torch.tensor(split.test_labels, device=images.device)
    train_features, features = embed(method.encoder, images), embed(method.encoder, test)
    for module in method.modules:
        module.eval()
    online = method.online(views(test[:1000], torch.Generator().manual_seed(0)))
    return Run(
        probe=linear_probe(train_features, labels, features, test_labels),
        knn=knn_probe(train_features, labels, features, test_labels, k=min(20, len(images))),
        std=float(embedding_std(online)),
        rank=float(effective_rank(features)),
        loss=loss,
        trace=trace,
    )


def untrained(encoder: nn.Module, split: Split, *, device: str = "cpu") -> Run:
    """Measure an encoder as it was drawn."""
    method = Method(encoder, [encoder], lambda a, b, rows: a.sum(), encoder, encoder)
    images = torch.tensor(split.train, device=device)
    return measure(method, split, images, math.nan, {})


def seeded(seed: int, make: Callable[[], Drawn]) -> Drawn:
    """Draw a module's weights from a seed and leave the global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()
