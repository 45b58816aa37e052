"""Find which subgroup breaks under which perturbation, with intervals."""

from vpsa_fair.counts import CLEAN, Axis, Cell, Counts, positions

__all__ = ["CLEAN", "Axis", "Cell", "Counts", "positions"]
