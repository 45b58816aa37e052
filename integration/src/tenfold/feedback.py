"""Training in which the average feeds back: a BYOL-like pair of networks, and pseudo-labels."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from er_ssl import embedding_std
from torch import Tensor, nn

from tenfold.at_batch import Curve, Training, cross_entropy, run, score
from tenfold.augment import plain, views
from tenfold.classifiers import GhostNorm, conv_classifier, conv_features
from tenfold.data.images import Split
from tenfold.methods import seeded
from tenfold.probes import linear_probe
from tenfold.training import embed

Objective = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(prediction, projection, the teacher's target), each ``(B, D)``, to a scalar."""

PROBED, FIXED = 2000, 1024  # training rows of the probe, test rows whose views are fixed
LABELLED_SHARE = 4  # one in so many images of a batch has a label
SHARPEN = 0.5  # temperature of the teacher's labels


def mean_square(prediction: Tensor, projection: Tensor, target: Tensor) -> Tensor:
    """BYOL's own objective: the squared distance of directions, ``2 - 2 cos``, its mean."""
    return 2 - 2 * F.cosine_similarity(prediction, target).mean()


def byol(
    training: Training,
    split: Split,
    *,
    rule: bool,
    objective: Objective = mean_square,
    width: int = 16,
    dim: int = 32,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Curve:
    """Train a student towards the average of itself, without labels, and return both's course.

    Batch statistics are those of 32 rows at every kappa: group normalisation in the encoder,
    `GhostNorm` in projector and predictor, of the teacher too.

    Args:
        training: recipe, batch, points; its seed is also that of the weights and the views.
        split: images; labels are the probe's only.
        rule: whether the teacher's decay follows the batch.
        objective: what pulls the student's prediction to the teacher's target.
        width: of the encoder's first convolution; it gives 4 width features.
        dim: of the projection.
        progress: called with samples done and in all.

    Returns:
        ``samples``; ``loss``, the objective on fixed views of test images; ``alignment``, the
        student's mean cosine of two views; ``spread``, of its directions, 0 (one point) to 1;
        ``student probe`` and ``teacher probe``, shares of test images; ``projection distance``,
        the mean of ``1 - cos`` between both's projections; ``weight distance``, that of both's
        weights, relative to the length of the student's.
    """
    pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    channels, hidden, seed = split.train.shape[1], 4 * width, training.seed
    encoder = seeded(
        seed, lambda: nn.Sequential(*conv_features(channels, width, norm=True), *pooled)
    )
    project, predict = seeded(
        seed, lambda: nn.ModuleList([head(hidden, 2 * hidden, dim), head(dim, 2 * hidden, dim)])
    ).children()
    student = nn.Sequential(encoder, project)
    images, test = torch.tensor(split.train), torch.tensor(split.test)
    labels, test_labels = torch.tensor(split.train_labels), torch.tensor(split.test_labels)
    draws, fixed = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(0)
    pair = views(test[:FIXED], fixed), views(test[:FIXED], fixed)
    teacher = training.average(student, rule=rule)

    def distil(view1: Tensor, view2: Tensor) -> Tensor:
        z1, z2 = student(torch.cat([view1, view2])).chunk(2)
        t1, t2 = teacher(torch.cat([view1, view2])).chunk(2)
        return (objective(predict(z1), z1, t2) + objective(predict(z2), z2, t1)) / 2

    def loss(rows: Tensor, before: int) -> Tensor:
        return distil(views(images[rows], draws), views(images[rows], draws))

    def probe() -> float:
        features = embed(encoder, images[:PROBED]), embed(encoder, test)
        return linear_probe(features[0], labels[:PROBED], features[1], test_labels).value

    @torch.no_grad()
    def measure() -> dict[str, float]:
        mine, theirs, other = student(pair[0]), teacher(pair[0]), student(pair[1])
        found = {"loss": float(distil(*pair)), "student probe": probe()}
        with teacher.ema.swap():
            found["teacher probe"] = probe()
        found["spread"] = float(embedding_std(mine))
        found["alignment"] = float(F.cosine_similarity(mine, other).mean())
        found["projection distance"] = float(1 - F.cosine_similarity(mine, theirs).mean())
        return found | {"weight distance": apart(teacher.ema.weights(), teacher.ema.followed())}

    return run(
        training, [student, predict], len(images), loss,
        averages=[teacher], measure=measure, progress=progress,
    )  # fmt: skip


def head(before: int, hidden: int, after: int) -> nn.Sequential:
    """A projector or predictor: linear, norm over groups of 32 rows, ReLU, linear."""
    middle = [GhostNorm(hidden), nn.ReLU()]
    return nn.Sequential(nn.Linear(before, hidden), *middle, nn.Linear(hidden, after))


def apart(average: dict[str, Tensor], model: dict[str, Tensor]) -> float:
    """The distance of the average's weights from the model's, relative to the model's length."""
    gap = sum(float((average[name] - model[name]).double().square().sum()) for name in model)
    return (gap / sum(float(w.double().square().sum()) for w in model.values())) ** 0.5


def pseudo_labels(
    training: Training,
    split: Split,
    *,
    rule: bool,
    labels: int = 200,
    weight: float = 1.0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Curve:
    """Train on a few labels and on the labels that the average gives to all other images.

    A quarter of each batch has labels of its own. The teacher sees an image as it is, the student
    a random view; the teacher's probabilities are sharpened, and their loss rises linearly over
    the first quarter of the run.

    Args:
        training: recipe, batch, points; its seed is also that of the weights and the views.
        split: images; of the training labels the first ``labels`` are used.
        rule: whether the teacher's decay follows the batch.
        labels: how many images have a label.
        weight: of the loss on the teacher's labels, at its full height.
        progress: called with samples done and in all.

    Returns:
        ``samples``; ``student`` and ``teacher``, test loss in nats; the same names with
        `` accuracy``; ``label accuracy``, the share of right labels that the teacher gives to
        images without one; ``weight distance`` as in `byol`.

    Raises:
        ValueError: if there are not more images than labels.
    """
    if not 0 < labels < len(split.train):
        raise ValueError(f"labels must be between 1 and {len(split.train) - 1}, got {labels}")
    seed, total = training.seed, training.recipe.samples or 0
    model = seeded(
        seed, lambda: conv_classifier(len(split.classes), channels=split.train.shape[1], norm=True)
    )
    teacher = training.average(model, rule=rule)
    images, given = torch.tensor(split.train), torch.tensor(split.train_labels)
    test = plain(torch.tensor(split.test)), torch.tensor(split.test_labels)
    hidden = plain(images[labels : labels + PROBED]), given[labels : labels + PROBED]
    draws = torch.Generator().manual_seed(seed)

    def loss(rows: Tensor, before: int) -> Tensor:
        own = rows[: len(rows) // LABELLED_SHARE] % labels  # every label equally often, in turn
        other = labels + rows[len(rows) // LABELLED_SHARE :] % (len(images) - labels)
        logits = model(views(images[torch.cat([own, other])], draws))
        target = (teacher(plain(images[other])) / SHARPEN).softmax(1)
        level = weight * min(1.0, before / (total / 4))
        taught = F.cross_entropy(logits[len(own) :], target)
        return cross_entropy(logits[: len(own)], given[own]) + level * taught

    @torch.no_grad()
    def measure() -> dict[str, float]:
        found: dict[str, float] = {}
        for name, answer in {"student": model, "teacher": teacher}.items():
            found[name], found[f"{name} accuracy"] = score(answer, *test)
        found["label accuracy"] = score(teacher, *hidden)[1]
        return found | {"weight distance": apart(teacher.ema.weights(), teacher.ema.followed())}

    return run(
        training, [model], len(images), loss,
        averages=[teacher], measure=measure, progress=progress,
    )  # fmt: skip
