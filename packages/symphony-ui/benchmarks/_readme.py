"""Tables of the races in the README, between marks of their own."""

import re
from pathlib import Path

from symphony_ui.files import replace_file

README = Path(__file__).parents[1] / "README.md"


def rewrite_readme(name: str, text: str) -> None:
    """Puts a text between the README's marks of that name.

    Raises:
        ValueError: if they are not there.
    """
    marks = f"<!-- bench {name} -->", f"<!-- /bench {name} -->"
    old = README.read_text(encoding="utf-8")
    if any(old.count(mark) != 1 for mark in marks):
        raise ValueError(f"{README} needs the marks {marks[0]} and {marks[1]}, once each")
    pattern = re.escape(marks[0]) + ".*" + re.escape(marks[1])
    block = f"{marks[0]}\n\n{text}\n\n{marks[1]}"
    replace_file(README, re.sub(pattern, lambda _: block, old, flags=re.DOTALL).encode())
