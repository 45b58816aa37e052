"""How fast AdvAA's controller leaves random: entropy over updates, for several noises of the loss.

The loss of a policy is the mean over its 10 operations of hardness times magnitude, hardness
spread evenly over [0, 1], plus Gaussian noise; a uniform policy's own losses spread by about .08.
The control shuffles the losses among the policies: it keeps their numbers and takes their meaning
away, so what it loses of its entropy is random walk.

`python packages/randaug-study/examples/drift/drift.py --journal drift.jsonl --table drift.md` takes
about half an hour on one thread; a run that was stopped goes on from its journal.
"""

import argparse
import json
import statistics
from pathlib import Path

import torch
from randaug_study.controller import Controller, ControllerConfig, Policies

POLICIES = 8
UPDATES = (0, 50, 100, 200, 300, 500)
ARMS = {
    "noise .02": (0.02, False),
    "noise .08": (0.08, False),
    "noise .32": (0.32, False),
    "noise .02, shuffled": (0.02, True),
}


def policy_losses(policies: Policies, config: ControllerConfig) -> torch.Tensor:
    """Mean hardness times magnitude of each policy, in [0, 1]."""
    hardness = torch.linspace(0, 1, config.ops, dtype=torch.float64)
    magnitude = torch.linspace(0, 1, config.bins, dtype=torch.float64)
    return (hardness[policies.ops] * magnitude[policies.bins]).mean((1, 2))


def run(noise: float, shuffled: bool, seed: int) -> dict[str, list[float]]:
    """One controller: relative entropy and mean loss of its policies after each of `UPDATES`."""
    config = ControllerConfig()
    controller = Controller(config, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    entropies, losses = [], []
    for update in range(UPDATES[-1] + 1):
        if update in UPDATES:
            entropies.append(controller.entropy((seed, 1, update)) / config.max_entropy)
            drawn = controller.sample(256, (seed, 2, update))
            losses.append(float(policy_losses(drawn, config).mean()))
        policies = controller.sample(POLICIES, (seed, 0, update))
        found = policy_losses(policies, config)
        found = found + noise * torch.randn(POLICIES, generator=generator, dtype=torch.float64)
        if shuffled:
            found = found[torch.randperm(POLICIES, generator=generator)]
        controller.update(policies, found)
    return {"entropy": entropies, "loss": losses}


def table(rows: list[dict]) -> str:
    """Means over seeds, and the lowest and highest, as Markdown."""
    head = ["loss", "seeds", "", *(f"{n} updates" for n in UPDATES)]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for arm in ARMS:
        mine = [row for row in rows if row["arm"] == arm]
        for name, title in (("entropy", "H/H_max"), ("loss", "policy loss")):
            columns = zip(*(row[name] for row in mine), strict=True)
            cells = [
                f"{statistics.fmean(column):.3f} [{min(column):.3f}, {max(column):.3f}]"
                for column in columns
            ]
            lines.append(f"| {arm} | {len(mine)} | {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run what the journal has not, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--journal", type=Path, required=True, help="JSON Lines, appended to")
    parser.add_argument("--table", type=Path, help="Markdown; printed too")
    parser.add_argument("--seeds", type=int, default=10)
    args = parser.parse_args()
    torch.set_num_threads(1)
    lines = args.journal.read_text().splitlines() if args.journal.exists() else []
    rows = [json.loads(line) for line in lines]
    done = {(row["arm"], row["seed"]) for row in rows}
    for seed in range(args.seeds):
        for arm, (noise, shuffled) in ARMS.items():
            if (arm, seed) in done:
                continue
            row = {"arm": arm, "seed": seed, "updates": UPDATES, **run(noise, shuffled, seed)}
            rows.append(row)
            with args.journal.open("a") as journal:
                journal.write(json.dumps(row) + "\n")
            print(f"seed {seed}, {arm}: H/H_max {row['entropy'][-1]:.3f}", flush=True)
    text = table(rows)
    print(text)
    if args.table:
        args.table.write_text(text + "\n")


if __name__ == "__main__":
    main()
