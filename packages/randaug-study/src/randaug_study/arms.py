"""The arms of a study: what is trained on, named in a file and built once a run."""

import dataclasses
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from randaug_study import curricula, select
from randaug_study.advaa import AdvAA
from randaug_study.augment import RandAugment
from randaug_study.controller import Controller, ControllerConfig
from randaug_study.pool import Scope

T = TypeVar("T")
RULES = ("none", "random", "worst", "boltzmann", "quantile", "mixture", "copies", "advaa")
CURRICULA = {
    "up": curricula.up,
    "down": curricula.down,
    "cosine": curricula.cosine,
    "step": curricula.step,
    "sawtooth": curricula.sawtooth,
}


@dataclass(frozen=True)
class Arm:
    """One way of augmenting, as a study file states it.

    Args:
        name: in tables and in the journal.
        rule: one of ``none``, ``random``, ``worst``, ``boltzmann``, ``quantile``, ``mixture``,
            ``copies`` (all k of them: the control of ``advaa``) and ``advaa``.
        k: candidates, copies or policies.
        scope: of ``worst``, see `randaug_study.pool.Pool`.
        beta: of ``boltzmann``.
        q: of ``quantile``.
        epsilon: of ``mixture``.
        curriculum: the magnitude over training, mean-matched: ``up``, ``down``, ``cosine``,
            ``step`` or ``sawtooth``; None keeps it constant.
        controller_lr: of ``advaa``, Adam's.
        epochs: in place of the study's.
        reference: the arm that this one is compared with, in place of the study's baseline.
        equal_compute: the arm that costs as much, for the view at equal compute.

    Raises:
        ValueError: for a rule or curriculum of another name, or numbers out of range.
    """

    name: str
    rule: str
    k: int = 1
    scope: Scope = "sample"
    beta: float = 1.0
    q: float = 1.0
    epsilon: float = 0.5
    curriculum: str | None = None
    controller_lr: float = 3.5e-4
    epochs: int | None = None
    reference: str | None = None
    equal_compute: str | None = None

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ValueError(f"arm {self.name!r}: rule must be one of {RULES}, got {self.rule!r}")
        if self.curriculum is not None and self.curriculum not in CURRICULA:
            known = ", ".join(CURRICULA)
            raise ValueError(
                f"arm {self.name!r}: curriculum must be one of {known}, got {self.curriculum!r}"
            )
        if self.curriculum is not None and self.rule in ("none", "advaa"):
            raise ValueError(f"arm {self.name!r}: a curriculum does nothing to rule {self.rule!r}")
        if self.k < 1 or (self.epochs is not None and self.epochs < 1):
            raise ValueError(
                f"arm {self.name!r}: k and epochs must be at least 1, got {self.k}, {self.epochs}"
            )

    @classmethod
    def read(cls, name: str, table: dict[str, Any]) -> "Arm":
        """The arm of a table in a study file.

        Raises:
            ValueError: for an entry that no arm has, or of another type.
        """
        return checked(cls, f"arm {name!r}", {"name": name, **table})

    @property
    def copies(self) -> int:
        """Training images made of one."""
        return self.k if self.rule in ("copies", "advaa") else 1

    @property
    def scored(self) -> int:
        """Forwards without a backward, an image and epoch."""
        return self.k if self.needs_model else 0

    @property
    def needs_model(self) -> bool:
        """Whether the choice looks at the present weights."""
        return self.rule in ("worst", "boltzmann", "quantile", "mixture")

    def build(self, aug: RandAugment, seed: int) -> Any:
        """The rule, to be called on batches; None for ``none``."""
        match self.rule:
            case "none":
                return None
            case "random":
                return select.Random(aug)
            case "copies":
                return select.MeanOfK(aug, self.k)
            case "worst":
                return select.WorstOfK(aug, self.k, scope=self.scope)
            case "boltzmann":
                return select.Boltzmann(aug, self.k, beta=self.beta)
            case "quantile":
                return select.Quantile(aug, self.k, q=self.q)
            case "mixture":
                return select.Mixture(aug, self.k, epsilon=self.epsilon)
        config = ControllerConfig(ops=len(aug.space.ops), lr=self.controller_lr)
        controller = Controller(config, seed=seed)
        return AdvAA(aug, policies=self.k, controller=controller, seed=seed)

    def magnitudes(self, mean: float, epochs: int) -> list[float]:
        """The magnitude of each epoch; their mean is ``mean``."""
        if self.curriculum is None:
            return [mean] * epochs
        return CURRICULA[self.curriculum](mean).over(epochs)


def checked(kind: type[T], what: str, table: dict[str, Any]) -> T:
    """A dataclass from a table of a file.

    Raises:
        ValueError: for an unknown or missing entry, or one of another type.
    """
    fields = {f.name: f for f in dataclasses.fields(cast(Any, kind))}
    unknown = sorted(set(table) - set(fields))
    if unknown:
        raise ValueError(f"{what} has no entry {unknown[0]!r}; there are {', '.join(fields)}")
    missing = [
        name
        for name, f in fields.items()
        if name not in table
        and f.default is dataclasses.MISSING
        and f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ValueError(f"{what} lacks the entry {missing[0]!r}")
    try:
        return kind(**table)
    except TypeError as error:
        raise ValueError(f"{what} has an entry of a wrong type: {error}") from error
