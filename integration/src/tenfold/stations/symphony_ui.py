"""symphony-ui: one table of real images, and components that all follow one filter."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tenfold.station import Context, Explorer, StationResult, Verdict

if TYPE_CHECKING:
    from symphony_ui import Page
    from symphony_ui.analysis import Duplicates, Familiarity

THRESHOLD = 0.98  # cosine of near duplicates, in the encoder's centred features
MOST = 2000  # test images on the page
RULE = (
    "Reproduced means all of: the notebook, the live page and the saved file are sent the same "
    "layout, columns and state; the saved file read back gives the same rows, state and bytes; "
    "under each of three filters and all of them every histogram's counts are numpy's; and every "
    "pair of near duplicates has its cosine when measured again, with none missed. Partly: some. "
    "That the three hosts show the same is tested in a browser by the package's own suite."
)


class Station:
    """Embeddings, near duplicates, familiarity and a confusion matrix, cross-filtered."""

    claim = (
        "Interactive ML interfaces composed of task-specific, data-driven components can be used "
        "across platforms such as notebooks and web dashboards, and help practitioners discover "
        "issues like data duplicates and blind spots in models."
    )
    budget_s = 15
    needs = ("er-ssl",)

    def run(self, context: Context) -> StationResult:
        """Analyse the er-ssl station's features of the test images, and make a page of them."""
        from symphony_ui import duplicates, familiarity, project

        from tenfold.data.images import at_scale

        split = at_scale(context.scale, context.data_root)
        parts = {k: v.astype(np.float64) for k, v in context.results["er_ssl"].arrays.items()}
        features = parts["test"][:MOST]
        features = features - parts["train"].mean(0)  # a common direction makes all rows alike
        answers = _answers(parts, split)[: len(features)]
        context.progress(1, 4)
        twins = duplicates(features, threshold=THRESHOLD)
        context.progress(2, 4)
        known = familiarity(features)
        table = _table(split, features, answers, twins, known, project(features))
        context.progress(3, 4)
        checks = _checks(table) | {"near duplicates": _all_found(features, twins)}
        wrong = float(np.mean(~np.array(table["correct"])))
        unfamiliar = np.argsort(known.score)[: len(features) // 10]
        strange = float(np.mean(~np.array(table["correct"])[unfamiliar]))
        return StationResult(
            verdict=judge(checks),
            headline=(
                f"{len(twins.sizes)} groups of near duplicates in {len(features)} test images; the "
                f"probe errs on {100 * strange:.0f} % of the least familiar tenth and on "
                f"{100 * wrong:.0f} % of all"
            ),
            tables={"What was checked": {"check": list(checks), "holds": list(checks.values())}},
            figures=[Explorer(f"{split.name}: test images", table, LAYOUT)],
            notes=[
                RULE,
                "Features are those of er-ssl's last arm, less their mean; near duplicates have a "
                f"cosine of at least {THRESHOLD} there (our choice): look at them before you "
                "believe them. Predictions are a linear probe's on the training part.",
            ],
        )


LAYOUT = (
    (
        ("Scatter", {"x": "first", "y": "second", "color": "label", "media": "image", "width": 1}),
        ("ConfusionMatrix", {"label": "label", "prediction": "predicted", "width": 1}),
    ),
    (
        ("Familiarity", {"column": "familiarity", "media": "image", "caption": ["label"]}),
        (
            "Duplicates",
            {"column": "duplicates", "similarity": "similarity", "media": "image",
             "caption": ["label", "row"]},
        ),
    ),
    (("Summary", {"columns": ["label", "predicted", "correct", "familiarity"]}),),
    (("Instances", {"media": "image", "caption": ["label", "predicted"]}),),
)  # fmt: skip


def judge(checks: Mapping[str, bool]) -> Verdict:
    """The verdict by `RULE`."""
    if all(checks.values()):
        return "reproduced"
    return "partly" if any(checks.values()) else "not at this scale"


def _answers(parts: Mapping[str, np.ndarray], split: Any) -> np.ndarray:
    """The classes that a linear probe on the training features gives the test features."""
    import torch

    from tenfold.probes import probe_answers

    train, test = (torch.tensor(parts[name]) for name in ("train", "test"))
    labels = torch.tensor(split.train_labels[: len(train)])
    return probe_answers(train, labels, test).numpy()


def _table(
    split: Any,
    features: np.ndarray,
    answers: np.ndarray,
    twins: "Duplicates",
    known: "Familiarity",
    plane: np.ndarray,
) -> dict[str, Any]:
    images = split.test[: len(features)]
    shown = images[:, 0] if images.shape[1] == 1 else images.transpose(0, 2, 3, 1)
    labels = split.test_labels[: len(features)]
    grouped = twins.group >= 0
    closest = np.full(len(features), np.nan)
    closest[grouped] = twins.min_similarity[twins.group[grouped]]
    return {
        "image": shown,
        "row": list(range(len(features))),
        "label": [split.classes[n] for n in labels],
        "predicted": [split.classes[n] for n in answers],
        "correct": [bool(same) for same in labels == answers],
        "familiarity": _short(known.score),
        "duplicates": [int(n) if n >= 0 else None for n in twins.group],
        "similarity": _short(closest),
        "first": _short(plane[:, 0]),
        "second": _short(plane[:, 1]),
    }


def _short(values: np.ndarray) -> list[float | None]:
    """Six digits, and nothing where there is no value."""
    return [None if np.isnan(v) else float(f"{v:.6g}") for v in values]


def _all_found(features: np.ndarray, twins: "Duplicates") -> bool:
    """Whether the pairs are those of a plain product of all rows with all."""
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    found = {tuple(pair) for pair in twins.pairs.tolist()}
    expected = np.argwhere(np.triu(unit @ unit.T >= THRESHOLD, 1))
    return found == {tuple(pair) for pair in expected.tolist()}


def _checks(table: Mapping[str, Any]) -> dict[str, bool]:
    """What `RULE` asks of the page."""
    from symphony_ui import load

    from tenfold.page import explorer_page

    page = explorer_page(Explorer("checked", table, LAYOUT))
    page.selected = [1, 3]
    label, correct = np.array(table["label"]), np.array(table["correct"])
    known = np.array(table["familiarity"], dtype=float)
    median = float(np.median(known))
    filters = {
        'label in ["Shirt", "Coat"]': np.isin(label, ["Shirt", "Coat"]),
        "correct == false": ~correct,
        f"familiarity < {median!r}": known < median,
    }
    kept = {**filters, " and ".join(filters): np.logical_and.reduce(list(filters.values()))}
    names = sorted(set(table["label"]))
    counts = all(
        _counts(page, text, names) == [int(np.sum(label[rows] == name)) for name in names]
        for text, rows in kept.items()
    )
    specs = [{**page.spec(host), "host": ""} for host in ("saved", "live", "widget")]
    with tempfile.TemporaryDirectory() as folder:
        back = load(page.save(Path(folder) / "page.html"))
    return {
        "three hosts are sent the same": specs[0] == specs[1] == specs[2],
        "what is saved comes back": (back.state, back.to_html()) == (page.state, page.to_html()),
        "counts are numpy's": counts,
    }


def _counts(page: "Page", text: str, names: list[str]) -> list[int]:
    """The page's histogram of the labels over the rows that a filter keeps."""
    page.filter = text
    bins = {"type": "levels", "levels": names}
    query = {"kind": "hist", "view": "none", "column": "label", "bins": bins}
    (answer,) = page.answer(page.state.to_json(), [query])
    return list(answer["visible"])[: len(names)]
