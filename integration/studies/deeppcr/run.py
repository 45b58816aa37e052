"""The study behind deeppcr's station: a deep stack trained with either backward, and both timed.

Run it, and then `report.py`:

    uv run --package tenfold python integration/studies/deeppcr/run.py --jobs 1
    uv run --package tenfold python integration/studies/deeppcr/run.py --parts clock grid --jobs 0

The second, of timings, is for a machine that does nothing else.
"""

from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from deeppcr import bench
from tenfold.at_batch import centred
from tenfold.data.images import fashion_mnist
from tenfold.deep import BACKWARDS, Rows, Stack, train
from tenfold.methods import seeded
from tenfold.study import Task, journal_of, run_tasks, study_parser
from torch import Tensor

HERE = Path(__file__).parent
PARTS = ("train", "exact", "clock", "grid")
PAIR = ("loop", "parallel")
SIZES: dict[str, dict[str, Any]] = {
    "full": {"depths": (256, 512, 1024), "steps": 375, "batch": 64, "rounds": 5, "seeds": 5},
    "smoke": {"depths": (8, 16), "steps": 6, "batch": 16, "rounds": 1, "seeds": 2},
}
WIDTH, RATE = 8, 0.003
CELLS = (  # width, batch; those whose Jacobians have more than 32 million numbers are left out
    *((d, b) for d in (4, 8) for b in (1, 16, 64, 256)),
    *((16, b) for b in (1, 16, 64)),
    *((32, b) for b in (1, 16)),
)


@cache
def pixels(dtype: str) -> tuple[Rows, Rows]:
    """Centred training and test images, and their labels."""
    kind = getattr(torch, dtype)
    train_rows, test_rows = centred(fashion_mnist())
    return (train_rows[0].to(kind), train_rows[1]), (test_rows[0].to(kind), test_rows[1])


def execute(task: Task) -> dict[str, Any]:
    """Train one run, or race the ways backwards at one size."""
    torch.set_num_threads(1)
    return race(task) if task["part"] == "grid" else trained(task)


def stack(task: Task, backward: str, dtype: str = "float32") -> Stack:
    """The model that a task names; the same weights whatever its backward."""
    depth, width = task["depth"], task["width"]
    made = seeded(task["seed"], lambda: Stack(depth, width, backward=backward))
    return made.to(getattr(torch, dtype))


def trained(task: Task) -> dict[str, Any]:
    """A training run's curve, where it ended, and how long it took."""
    model = stack(task, task["backward"], task["dtype"])
    run = train(
        model, *pixels(task["dtype"]),
        steps=task["steps"], batch=task["batch"], seed=task["seed"], lr=RATE,
    )  # fmt: skip
    ends = {"test_loss": run.test_loss, "accuracy": run.accuracy, "seconds": round(run.seconds, 3)}
    return ends if task["part"] == "clock" else ends | {"losses": run.losses}


def race(task: Task) -> dict[str, Any]:
    """Median seconds of forward and backward together, and of the backward, by contender."""
    images, labels = (rows[: task["batch"]] for rows in pixels("float32")[0])
    both: dict[str, bench.Run] = {}
    back: dict[str, bench.Run] = {}
    for name in BACKWARDS:
        both[name], back[name] = contender(stack(task, name), images, labels)
    found = {name: run() for name, run in both.items() if name != "modules"}  # a tensor a block
    bench.check_alike(found)
    rounds = task["rounds"]
    return {"both": bench.race(both, rounds=rounds), "backward": bench.race(back, rounds=rounds)}


def contender(model: Stack, images: Tensor, labels: Tensor) -> tuple[bench.Run, bench.Run]:
    """Forward and backward of a model, and its backward alone, as functions to race."""
    leaves = tuple(model.parameters())

    def loss() -> Tensor:
        return F.cross_entropy(model(images), labels)

    kept = loss()
    return (
        lambda: torch.autograd.grad(loss(), leaves),
        lambda: torch.autograd.grad(kept, leaves, retain_graph=True),
    )


def tasks(size: dict[str, Any]) -> list[Task]:
    """Every run of a size: curves over seeds, curves in double precision, clocks, races."""
    common = {"width": WIDTH, "batch": size["batch"], "steps": size["steps"]}
    listed: list[Task] = []
    for seed in range(size["seeds"]):
        for depth in size["depths"]:
            arm = {"depth": depth, "seed": seed} | common
            single, double = {"dtype": "float32"}, {"dtype": "float64"}
            listed += [{"part": "train", "backward": way} | arm | single for way in PAIR]
            if seed == 0:
                listed += [{"part": "exact", "backward": way} | arm | double for way in PAIR]
                ways = (*PAIR, "modules")
                listed += [{"part": "clock", "backward": way} | arm | single for way in ways]
    deepest = size["depths"][-1]
    cells = [(deepest, *cell) for cell in CELLS]
    cells += [(depth, WIDTH, size["batch"]) for depth in size["depths"][:-1]]
    for depth, width, batch in cells:
        cell = {"depth": depth, "width": width, "batch": batch, "rounds": size["rounds"]}
        listed.append({"part": "grid", "seed": 0} | cell)
    return listed


def main() -> None:
    """Fill the journal."""
    parser = study_parser(__doc__ or "", takes="a quarter of an hour", jobs=1)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=["train", "exact"])
    parser.add_argument("--seeds", type=int, help="5 by default, 2 with --smoke")
    parser.add_argument("--depths", nargs="+", type=int, help="some of them")
    args = parser.parse_args()
    size = SIZES["smoke" if args.smoke else "full"]
    depths = args.depths or size["depths"]
    listed = tasks(size | {"seeds": args.seeds or size["seeds"]})
    chosen = [task for task in listed if task["part"] in args.parts and task["depth"] in depths]
    run_tasks(chosen, execute, journal_of(args, HERE), jobs=args.jobs)


if __name__ == "__main__":
    main()
