"""A component of one's own to begin with: one ES module and one small class."""

import keyword
import os
from pathlib import Path

from symphony_ui.errors import FormatError, SymphonyError
from symphony_ui.files import replace_file

MODULE = """\
// Draws {cls}: `ctx` reads the page's data and state, `el` is the element to draw in.
// What else `ctx` can do stands in symphony.d.ts, beside symphony_ui's bundle.

export default {{
  render({{ ctx, el }}) {{
    const {{ column, bins }} = ctx.options;
    const draw = () => {{
      const found = ctx.hist(column, {{ bins }});
      const names = found.bins.type === "levels"
        ? found.bins.levels
        : Array.from({{ length: found.bins.n }}, (_, k) => {{
            const {{ lo, hi, n }} = found.bins;
            return (lo + ((hi - lo) * k) / n).toPrecision(3);
          }});
      const most = Math.max(1, ...names.map((_, k) => found.all[k]));
      el.replaceChildren(...names.map((name, k) => bar(name, found.visible[k], most)));
    }};
    ctx.subscribe(["visible"], draw); // it ends by itself when the view goes
    draw();
  }},
}};

function bar(name, count, most) {{
  const line = document.createElement("label");
  const meter = document.createElement("meter");
  meter.max = most;
  meter.value = count;
  line.append(meter, ` ${{name}}: ${{count}}`); // text, never markup
  line.style.display = "block";
  return line;
}}
"""
CLASS = '''\
"""A component of a page; ``{name}.js`` draws it."""

from symphony_ui import Component, Page


class {cls}(Component):
    """How many of the visible rows lie in each bin, or have each value, of a column."""

    esm = "{name}.js"
    column: str
    bins: int = 10


if __name__ == "__main__":
    page = Page({{"score": [0.1, 0.4, 0.4, 0.9], "label": ["a", "b", "b", "a"]}}, [
        [{cls}("score"), {cls}("label", title="Labels")],
    ])
    print(page.save("{name}.html"))
'''


def scaffold(name: str, folder: str | os.PathLike[str] = ".") -> tuple[Path, Path]:
    """Writes a component's module and class; their paths.

    Args:
        name: of both files, such as ``violin`` or ``word_cloud``.
        folder: to write them in.

    Raises:
        SymphonyError: if the name is none, or a file of it is there already that is another.
    """
    from symphony_ui.components import BUILT_IN

    usable = name.isascii() and name.isidentifier() and name == name.lower()
    if not usable or name.startswith("_") or keyword.iskeyword(name):
        raise SymphonyError(
            f"a component's name is in small letters, digits and underscores, such as word_cloud; "
            f"got {name!r}"
        )
    cls = "".join(part.capitalize() for part in name.split("_"))
    if cls.lower() in BUILT_IN or cls in {held.__name__ for held in BUILT_IN.values()}:
        raise SymphonyError(f"{cls} is a component of this package: choose another name")
    paths = Path(folder) / f"{name}.js", Path(folder) / f"{name}.py"
    texts = [text.format(name=name, cls=cls).encode() for text in (MODULE, CLASS)]
    for path, text in zip(paths, texts, strict=True):
        if path.exists() and not (path.is_file() and path.read_bytes() == text):
            raise FormatError(f"{path} is there already: choose another name or folder")
    for path, text in zip(paths, texts, strict=True):
        replace_file(path, text)
    return paths
