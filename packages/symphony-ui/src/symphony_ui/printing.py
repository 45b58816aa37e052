"""Filter trees as the text that reads as them again."""

import datetime as dt
import json
from typing import Any

from symphony_ui.columns import EXACT
from symphony_ui.filter import Tree, check
from symphony_ui.parse import bare


def print_tree(tree: Tree | None) -> str:
    """The text of a tree; reading it gives the tree again."""
    if tree is None:
        return ""
    check(tree)
    op, *args = tree
    if op in ("and", "or"):
        return f" {op} ".join(
            f"({print_tree(t)})" if t[0] in ("and", "or") else print_tree(t) for t in args
        )
    if op == "not":
        inner = print_tree(args[0])
        return f"not ({inner})" if args[0][0] in ("and", "or") else f"not {inner}"
    if op == "all":
        return "all()"
    if op == "rows":
        return f"rows({_literal(args[0])})"
    name = _named(args[0])
    if op == "missing":
        return f"{name} is missing"
    if op == "lasso":
        return f"lasso({name}, {_named(args[1])}, {json.dumps(args[2])})"
    values = [_literal(value) for value in args[1:] if not isinstance(value, list)]
    if op == "bin":
        return f"bin({name}, {', '.join(values)})"
    if op == "between":
        return f"{name} between {' and '.join(values)}"
    if op == "in":
        return f"{name} in [{', '.join(map(_literal, args[1]))}]"
    return f"{name} {op} {values[0]}"


def _named(name: str) -> str:
    return name if bare(name) else "`" + name.replace("`", "``") + "`"


def _literal(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, dict):
        return value["int"] if "int" in value else _stamp(value["time"])
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, int) and abs(value) > EXACT:
        return repr(float(value))
    return repr(value)


def _stamp(ms: float) -> str:
    when = dt.datetime(1970, 1, 1) + dt.timedelta(milliseconds=int(ms))
    text = f"@{when.isoformat(timespec='milliseconds')}"
    return (
        text.removesuffix("T00:00:00.000")
        if when.time() == dt.time()
        else f"{text}Z".replace(".000Z", "Z")
    )
