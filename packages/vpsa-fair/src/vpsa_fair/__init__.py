"""Find which subgroup breaks under which perturbation, with intervals."""
