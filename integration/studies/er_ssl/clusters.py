"""The methods over clusters: DINO and SwAV with lightly's losses, DINO + ER, and DeepCluster."""

import torch
import torch.nn.functional as F
from er_ssl import DiscreteERLoss
from lightly.loss import DINOLoss, SwaVLoss
from sklearn.cluster import KMeans
from tenfold.augment import plain
from tenfold.encoders import mlp
from tenfold.methods import Method
from tenfold.training import EMATeacher
from torch import Tensor, nn

CLUSTERS = 64
STUDENT, TEACHER = 0.1, 0.04  # temperatures of DINO


class Prototypes(nn.Module):
    """Cosines with learnt directions: ``(B, D) -> (B, M)``."""

    def __init__(self, dim: int, clusters: int) -> None:
        super().__init__()
        self.directions = nn.Parameter(torch.randn(clusters, dim))

    def forward(self, z: Tensor) -> Tensor:
        """Return the cosines."""
        return F.normalize(z, dim=1) @ F.normalize(self.directions, dim=1).T


def head(features: int, dim: int = 64) -> nn.Sequential:
    """Projector and prototypes."""
    return nn.Sequential(mlp(features, features, dim), Prototypes(dim, CLUSTERS))


def dino(encoder: nn.Module, *, decay: float, er: bool, features: int) -> Method:
    """DINO as it is (centring and sharpening), or with the entropy in the place of centring."""
    student = nn.Sequential(encoder, head(features))
    teacher = EMATeacher(student, decay)
    centred = DINOLoss(CLUSTERS, TEACHER, TEACHER, 0, STUDENT, center_momentum=0.9)
    bound = DiscreteERLoss(STUDENT, TEACHER)

    def step(view1: Tensor, view2: Tensor, rows: Tensor) -> Tensor:
        both = torch.cat([view1, view2])
        (s1, s2), (t1, t2) = student(both).chunk(2), teacher(both).chunk(2)
        if er:
            return (bound(s1, t2) + bound(s2, t1)) / 2
        return centred([t1, t2], [s1, s2], epoch=0)

    def target(view: Tensor) -> Tensor:
        logits = teacher(view)
        return logits if er else logits - centred.center.reshape(1, -1)

    return Method(
        encoder,
        [student],
        step,
        student,
        target,
        after_step=lambda done: teacher.update(),
        temperatures=(STUDENT, TEACHER),
    )


def swav(encoder: nn.Module, *, features: int) -> Method:
    """SwAV: the other view's equipartitioned assignment is predicted."""
    model = nn.Sequential(encoder, head(features))
    loss = SwaVLoss(temperature=0.1, sinkhorn_iterations=3, sinkhorn_epsilon=0.05)

    def step(view1: Tensor, view2: Tensor, rows: Tensor) -> Tensor:
        return loss(list(model(torch.cat([view1, view2])).chunk(2)), [])

    return Method(encoder, [model], step, model, model, temperatures=(0.1, 0.05))


def deepcluster(encoder: nn.Module, images: Tensor, *, features: int, seed: int) -> Method:
    """DeepCluster: k-means of the features each epoch, and cross-entropy on what it found.

    Classes weigh alike, which in expectation is the paper's uniform sampling over them.
    """
    classify = nn.Linear(features, CLUSTERS)
    model = nn.Sequential(encoder, classify)
    state: dict[str, Tensor] = {}

    @torch.no_grad()
    def cluster(epoch: int) -> None:
        encoder.eval()
        found = torch.cat([encoder(plain(part)) for part in images.split(1000)])
        encoder.train()
        found = F.normalize(found - found.mean(0), dim=1)
        k_means = KMeans(CLUSTERS, n_init=1, max_iter=50, random_state=seed + epoch)
        state["labels"] = torch.from_numpy(k_means.fit_predict(found.numpy())).long()
        sizes = torch.bincount(state["labels"], minlength=CLUSTERS).clamp_min(1)
        state["weights"] = len(found) / (CLUSTERS * sizes)
        nn.init.normal_(classify.weight, std=0.01)
        nn.init.zeros_(classify.bias)

    def step(view1: Tensor, view2: Tensor, rows: Tensor) -> Tensor:
        logits, labels = model(torch.cat([view1, view2])), state["labels"][rows].repeat(2)
        return F.cross_entropy(logits, labels, weight=state["weights"])

    return Method(encoder, [model], step, model, model, before_epoch=cluster, temperatures=(1, 0.1))
