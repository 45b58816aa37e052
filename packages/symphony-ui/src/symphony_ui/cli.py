"""The command ``symphony-ui``: view a table live, export it as one file, analyze, begin, check.

Results go to standard output, mistakes as one line to standard error with exit status 2. A file
that is not whole exits with 1.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from symphony_ui.errors import FormatError, SymphonyError

if TYPE_CHECKING:
    from symphony_ui.page import Page

EXAMPLES = """
examples:
  symphony-ui view data.parquet --media thumb=image --root images/
  symphony-ui export data.csv -o data.html --filter 'score > 0.5'
  symphony-ui analyze data.parquet --vectors embedding -o more.parquet
  symphony-ui new Violin
  symphony-ui check data.html
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the process's exit status.

    Args:
        argv: arguments after the program's name; the process's own by default.

    Returns:
        0 if all is well, 1 if a file is not whole, 2 for bad input, 130 when interrupted.
    """
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.run(arguments) or 0)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # the reader has what it wanted
        return 0
    except (SymphonyError, OSError, ImportError) as error:
        text = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, OSError) and error.filename is not None:
            text = f"{error.filename}: {error.strerror}"
        print(f"symphony-ui: {text}", file=sys.stderr)
        return 2


class _Parser(argparse.ArgumentParser):
    """Argparse that reports a mistake in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="symphony-ui",
        description="Interactive pages composed from tables.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    for name, add, run, text in (
        ("view", _add_view, _view, "show a table, or a saved page, live in the browser"),
        ("export", _add_export, _export, "write a table as one HTML file"),
        ("analyze", _add_analyze, _analyze, "add duplicates, familiarity and a projection"),
        ("new", _add_new, _new, "begin a component of your own: one ESM file, one class"),
        ("check", _add_check, _check, "is a saved page whole? exit 0 or 1"),
    ):
        command = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        add(command)
        command.set_defaults(run=run)
    return parser


# pages


def _add_page(command: argparse.ArgumentParser) -> None:
    command.add_argument("data", help="a Parquet, CSV, Arrow, JSON Lines or npz file; a saved page")
    command.add_argument("--title", help="of the page; the file's name by default")
    command.add_argument("--filter", help="rows to begin with, such as 'score > 0.5'")
    command.add_argument("--id", help="the column that names the rows")
    command.add_argument(
        "--media", action="append", default=[], metavar="COLUMN=KIND",
        help="a column of paths or bytes: image, audio or text; may be repeated",
    )  # fmt: skip
    command.add_argument("--root", default=".", help="folder that the paths lie in (.)")


def _page(arguments: argparse.Namespace) -> "Page":
    from symphony_ui.media import Audio, Image, Media, Text
    from symphony_ui.page import Page
    from symphony_ui.saved import load

    path = Path(arguments.data)
    if path.suffix.lower() in (".html", ".htm"):
        page = load(path)
        if arguments.filter:
            page.filter = arguments.filter
        return page
    kinds: dict[str, type[Media]] = {"image": Image, "audio": Audio, "text": Text}
    media: dict[str, Media] = {}
    for pair in arguments.media:
        name, _, kind = pair.rpartition("=")
        if not name or kind not in kinds:
            raise SymphonyError(f"--media is COLUMN=image, audio or text, got {pair!r}")
        media[name] = kinds[kind](root=arguments.root)
    return Page(
        path,
        title=arguments.title or path.stem,
        id=arguments.id,
        media=media,
        filter=arguments.filter,
    )


def _add_view(command: argparse.ArgumentParser) -> None:
    _add_page(command)
    command.add_argument("--port", type=int, default=0, help="0 takes a free one (0)")
    command.add_argument("--open", action="store_true", help="open the browser")


def _view(arguments: argparse.Namespace) -> None:
    page = _page(arguments)
    server = page.serve(port=arguments.port, open_browser=arguments.open)
    print(f"{page}\n{server.url}\nControl+C ends it.", flush=True)
    server.wait()


def _add_export(command: argparse.ArgumentParser) -> None:
    _add_page(command)
    command.add_argument("-o", "--output", required=True, help="the HTML file")
    command.add_argument("--max-mb", type=float, default=100, help="a larger file is refused (100)")
    command.add_argument("--precision", choices=("exact", "display"), default="exact")


def _export(arguments: argparse.Namespace) -> None:
    from symphony_ui.html import size_text

    path = _page(arguments).save(
        arguments.output, max_bytes=int(arguments.max_mb * 1e6), precision=arguments.precision
    )
    print(f"{path}: {size_text(path.stat().st_size)}")


# analyses


def _add_analyze(command: argparse.ArgumentParser) -> None:
    command.add_argument("data", help="a Parquet, Arrow or npz file")
    command.add_argument(
        "--vectors", action="append", required=True, metavar="COLUMN",
        help="a column that holds a vector a row; may be repeated",
    )  # fmt: skip
    command.add_argument("--label", help="the column of true classes")
    command.add_argument("--prediction", help="the column of predicted classes")
    command.add_argument("--method", choices=("pca", "umap", "tsne"), default="pca")
    command.add_argument("--threshold", type=float, help="smallest cosine of duplicates (0.98)")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("-o", "--output", help="a .parquet or .npz file; without it, a summary")


def _analyze(arguments: argparse.Namespace) -> None:
    from symphony_ui.analysis import analyze
    from symphony_ui.data import read_file

    table = read_file(Path(arguments.data))
    before = list(table) if isinstance(table, dict) else list(table.column_names)
    found = analyze(
        table,
        embedding=arguments.vectors,
        label=arguments.label,
        pred=arguments.prediction,
        method=arguments.method,
        threshold=arguments.threshold,
        seed=arguments.seed,
    )
    print(found)
    if arguments.output:
        added = {name: v for name, v in found.to_table().items() if name not in before}
        path = _write_table(Path(arguments.output), table, added)
        print(f"{path}: {', '.join(added)} added")


def _write_table(path: Path, table: Any, added: dict[str, Any]) -> Path:
    """Writes a table and the added columns, whole or not at all."""
    import io

    import numpy as np
    from arro3.core import Array, Table
    from arro3.io import write_parquet

    from symphony_ui.files import replace_file

    file = io.BytesIO()
    ending = path.suffix.lower()
    if ending == ".npz":
        if not isinstance(table, dict):
            columns = {name: table.column(name).combine_chunks() for name in table.column_names}
            table = {name: np.array(column.to_pylist()) for name, column in columns.items()}
        kept: dict[str, Any] = {n: v for n, v in {**table, **added}.items() if v.dtype != object}
        np.savez(file, **kept)
    elif ending == ".parquet":
        if isinstance(table, dict):
            flat = {name: value for name, value in table.items() if value.ndim == 1}
            table = Table.from_arrays([_array(v) for v in flat.values()], names=list(flat))
        arrays = [table.column(name).combine_chunks() for name in table.column_names]
        arrays += [Array.from_numpy(np.ascontiguousarray(value)) for value in added.values()]
        names = [*table.column_names, *added]
        write_parquet(Table.from_arrays(arrays, names=names), file)
    else:
        raise FormatError(f"{path} must end in .parquet or .npz")
    return replace_file(path, file.getvalue())


def _array(values: Any) -> Any:
    """A numpy column as Arrow; texts too."""
    from arro3.core import Array, DataType

    if values.dtype.kind == "U":
        return Array(values.tolist(), type=DataType.utf8())
    return Array.from_numpy(values)


# components of one's own

MODULE = """// {name}: drawn again whenever other rows are visible.
// What `ctx` can do stands in symphony_ui/static/symphony.d.ts.
export default {{
  render({{ ctx, el, signal }}) {{
    const draw = () => {{
      const {{ column, bins: count }} = ctx.options;
      const {{ bins, visible }} = ctx.hist(column, {{ bins: count }});
      const n = bins.type === "linear" ? bins.n : bins.levels.length;
      const most = Math.max(1, ...Array.from(visible).slice(0, n));
      const bars = Array.from(visible).slice(0, n).map((count, k) => {{
        const bar = document.createElement("div");
        bar.textContent = bins.type === "linear" ? count : `${{bins.levels[k]}}: ${{count}}`;
        bar.style.width = `${{(100 * count) / most}}%`;
        bar.style.background = "var(--sym-accent-soft)";
        return bar;
      }});
      el.replaceChildren(...bars);
    }};
    ctx.subscribe(["visible"], draw);
    draw();
  }},
}};
"""
CLASS = '''"""{name}: a component for symphony-ui pages."""

import symphony_ui as sui


class {name}(sui.Component):
    """The visible rows of one column, a bar a bin."""

    esm = "{file}.js"
    column: str
    bins: int = 10


if __name__ == "__main__":
    table = {{"score": [0.1, 0.4, 0.4, 0.9], "label": ["a", "b", "b", "a"]}}
    page = sui.Page(table, [[{name}("score"), {name}("label")], sui.Summary()])
    print(page.save("{file}.html"))
'''


def _add_new(command: argparse.ArgumentParser) -> None:
    command.add_argument("name", help="of the class, such as Violin")
    command.add_argument("--folder", default=".", help="where the two files go (.)")


def _new(arguments: argparse.Namespace) -> None:
    from symphony_ui.components import BUILT_IN
    from symphony_ui.files import replace_file

    name, folder = arguments.name, Path(arguments.folder)
    file = name.lower()
    if not (name.isidentifier() and name.isascii() and name[0].isupper()):
        raise SymphonyError(f"a class is named like Violin, got {name!r}")
    if file in BUILT_IN:
        raise SymphonyError(f"there is a component {name} already: take another name")
    paths = {folder / f"{file}.js": MODULE, folder / f"{file}.py": CLASS}
    for path in paths:
        if path.exists():
            raise SymphonyError(f"{path} is there already")
    for path, text in paths.items():
        replace_file(path, text.format(name=name, file=file).encode())
        print(path)
    print(f"try it: {os.path.basename(sys.executable)} {folder / file}.py")


# saved pages


def _add_check(command: argparse.ArgumentParser) -> None:
    command.add_argument("file", help="a saved page or book")


def _check(arguments: argparse.Namespace) -> int:
    from symphony_ui.saved import load, load_book, policy_errors, read_file

    path = Path(arguments.file)
    if not path.is_file():
        raise FormatError(f"{path} is no file")
    found: Any = None
    try:
        found = load(path) if read_file(path).book is None else load_book(path)
        wrong = policy_errors(path)
    except FormatError as error:
        wrong = [str(error)]
    for text in wrong:
        print(text)
    if not wrong:
        print(f"{path}: whole; {found}")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
