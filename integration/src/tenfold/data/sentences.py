"""Sentences of this repository's own to steer with and to score on."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "sentences"
TASKS = ("football", "cooking", "sentiment", "truth", "toxicity")
SECTION = re.compile(r"\[(.+)\]")


@dataclass(frozen=True)
class Sides:
    """Sentences of a task: what it leads away from, and what it leads to.

    Attributes:
        source: sentences of the source.
        target: sentences of the target.
    """

    source: tuple[str, ...]
    target: tuple[str, ...]

    def few(self, n: int) -> "Sides":
        """The first ``n`` of both sides."""
        return Sides(self.source[:n], self.target[:n])


@dataclass(frozen=True)
class Task:
    """What to steer towards.

    Attributes:
        name: one of `TASKS`.
        about: in one sentence.
        fit: to fit maps on.
        held_out: to score on; of other shapes than ``fit``.
        keywords: lower-case words that tell the target in a text; none for truth.
        openers: beginnings to sample from; those of `openers` but for toxicity, whose own provoke.
    """

    name: str
    about: str
    fit: Sides
    held_out: Sides
    keywords: frozenset[str]
    openers: tuple[str, ...] = ()


def task(name: str) -> Task:
    """Return the sentences of a task.

    Raises:
        ValueError: if the name is none of `TASKS`.

    Example:
        >>> football = task("football")
        >>> football.fit.target[0]
        'The striker scored twice in the second half.'
        >>> len(football.fit.source), len(football.held_out.source)
        (48, 32)
    """
    if name not in TASKS:
        raise ValueError(f"name must be one of {', '.join(TASKS)}; got {name!r}")
    parts = sections(FOLDER / f"{name}.txt")

    def sides(part: str) -> Sides:
        return Sides(tuple(parts[f"source {part}"]), tuple(parts[f"target {part}"]))

    words = ",".join(parts.get("keywords", ())).split(",")
    keywords = frozenset(word.strip().lower() for word in words if word.strip())
    begin = tuple(parts["openers"]) if "openers" in parts else openers()
    return Task(name, " ".join(parts[""]), sides("fit"), sides("held-out"), keywords, begin)


def neutral() -> tuple[str, ...]:
    """Return the expository sentences that no task is about."""
    return tuple(sections(FOLDER / "neutral.txt")["neutral"])


def openers() -> tuple[str, ...]:
    """Return beginnings of texts, for continuations."""
    return tuple(sections(FOLDER / "neutral.txt")["openers"])


def sections(path: Path) -> dict[str, list[str]]:
    """Return the lines of a file by the ``[section]`` that they stand in, empty ones left out."""
    found: dict[str, list[str]] = {"": []}
    name = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if match := SECTION.fullmatch(line.strip()):
            name = match[1]
            found[name] = []
        elif line.strip():
            found[name].append(line.strip())
    return found


@dataclass(frozen=True)
class Question:
    """A question with answers to choose from.

    Attributes:
        text: the question.
        one: answers, of which exactly one is true: MC1.
        many: answers, of which several may be true: MC2.
    """

    text: str
    one: Mapping[str, bool]
    many: Mapping[str, bool]

    def __post_init__(self) -> None:
        if sum(self.one.values()) != 1 or len(self.one) < 2:
            raise ValueError(f"MC1 of {self.text!r} needs one true answer beside false ones")
        if not 0 < sum(self.many.values()) < len(self.many):
            raise ValueError(f"MC2 of {self.text!r} needs true and false answers")


def questions(path: Path = FOLDER / "truth_questions.json") -> list[Question]:
    """Return the questions of a file of TruthfulQA's form.

    Both forms in use are read: ``mc1_targets`` as ``{answer: 0 or 1}``, and as
    ``{"choices": [...], "labels": [...]}``.

    Raises:
        ValueError: if an entry lacks a part, or its answers allow no choice.
    """
    made = []
    for n, entry in enumerate(json.loads(path.read_text(encoding="utf-8"))):
        missing = {"question", "mc1_targets", "mc2_targets"} - set(entry)
        if missing:
            raise ValueError(f"{path.name}: entry {n} has no {', '.join(sorted(missing))}")
        one, many = (_labels(entry[f"mc{k}_targets"]) for k in (1, 2))
        made.append(Question(entry["question"], one, many))
    return made


def _labels(targets: Mapping[str, Any]) -> dict[str, bool]:
    if set(targets) == {"choices", "labels"} and isinstance(targets["choices"], list):
        pairs = zip(targets["choices"], targets["labels"], strict=True)
        return {answer: bool(label) for answer, label in pairs}
    return {answer: bool(label) for answer, label in targets.items()}
