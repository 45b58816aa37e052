"""Numbers that change over training: beta warms up, the relaxation cools down."""

from lv_ssl._checks import check_at_least, check_positive


def warm_up(step: int, *, target: float, steps: int) -> float:
    """Return beta at a step: linear from 0, and ``target`` from ``steps`` on.

    Args:
        step: optimizer steps done.
        target: the value after the warm-up, at least 0.
        steps: of the warm-up; 0 is none.

    Returns:
        A number in [0, target].

    Raises:
        ValueError: on a negative argument.

    Source:
        Linear KL warm-up; our choice.

    Example:
        >>> [warm_up(step, target=1.0, steps=4) for step in (0, 1, 4, 9)]
        [0.0, 0.25, 1.0, 1.0]
    """
    for name, value in (("step", step), ("target", target), ("steps", steps)):
        check_at_least(name, value, 0)
    return target if step >= steps else target * step / steps


def anneal(step: int, *, start: float, end: float, steps: int) -> float:
    """Return the relaxation's temperature at a step: geometric from ``start`` to ``end``.

    Args:
        step: optimizer steps done.
        start: at step 0, positive.
        end: from ``steps`` on, positive.
        steps: of the way, at least 1.

    Returns:
        A number between ``start`` and ``end``.

    Raises:
        ValueError: on an argument outside its range.

    Source:
        Geometric annealing; our choice.

    Example:
        >>> [anneal(step, start=1.0, end=0.25, steps=2) for step in (0, 1, 2, 3)]
        [1.0, 0.5, 0.25, 0.25]
    """
    check_at_least("step", step, 0)
    check_at_least("steps", steps, 1)
    check_positive("start", start)
    check_positive("end", end)
    return start * (end / start) ** min(step / steps, 1.0)
