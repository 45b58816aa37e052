"""The command ``symphony-ui``: look at a table, write its page, analyze it, check a page.

Results go to standard output, mistakes as one line to standard error with exit status 2. A page
that is not whole exits with 1.
"""

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from symphony_ui.page import Page


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the process's exit status.

    Args:
        argv: arguments after the program's name; the process's own by default.

    Returns:
        0 if all is well, 1 if a page that was checked is not whole, 2 for bad input.
    """
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.run(arguments) or 0)
    except BrokenPipeError:
        sys.stderr.close()  # the reader has what it wanted
        return 0
    except (ValueError, TypeError, OSError, ImportError) as error:
        text = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, OSError) and error.filename is not None:
            text = f"{error.filename}: {error.strerror}"
        print(f"symphony-ui: {text}", file=sys.stderr)
        return 2


class _Parser(argparse.ArgumentParser):
    """Argparse that reports a mistake in one line."""

    def error(self, message: str) -> Any:  # type: ignore[override]
        self.exit(2, f"{self.prog}: {message} (see --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="symphony-ui", description="Interactive pages composed from tables.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    for name, add, run, text in (
        ("view", _add_view, _view, "a table as a live page, until it is interrupted"),
        ("export", _add_export, _export, "a table as one HTML file that needs no network"),
        ("analyze", _add_analyze, _analyze, "a table with duplicates, familiarity, projections"),
        ("new", _add_new, _new, "a component of your own to begin with"),
        ("check", _add_check, _check, "is a saved page whole, and does only its own code run?"),
    ):
        command = commands.add_parser(
            name,
            help=text,
            description=f"{text[0].upper()}{text[1:]}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add(command)
        command.set_defaults(run=run)
    return parser


def _add_page(command: argparse.ArgumentParser) -> None:
    """What ``view`` and ``export`` are both told of a table."""
    command.add_argument("table", type=Path, help="Parquet, CSV, TSV, JSON Lines, Arrow or npz")
    command.add_argument("--title", help="of the page; the file's name by default")
    command.add_argument("--id", metavar="COLUMN", help="the column that names the rows")
    command.add_argument(
        "--media", action="append", default=[], metavar="COLUMN=image|audio|text",
        help="a column of media; may be repeated",
    )  # fmt: skip
    command.add_argument("--root", type=Path, metavar="FOLDER", help="of media; the table's own")
    command.add_argument("--size", type=int, metavar="PX", help="of images; 64")
    command.add_argument(
        "--kind", action="append", default=[], metavar="COLUMN=KIND",
        help="what a column is (category, text, url); may be repeated",
    )  # fmt: skip
    command.add_argument("--filter", metavar="TEXT", help="the rows to begin with")
    command.add_argument(
        "--group-by", action="append", default=[], metavar="COLUMN", help="may be repeated"
    )


def _page(arguments: argparse.Namespace) -> "Page":
    from symphony_ui.columns import SymphonyWarning
    from symphony_ui.media import Audio, Image, Media, Text
    from symphony_ui.page import Page

    root = arguments.root if arguments.root is not None else arguments.table.parent
    size = {} if arguments.size is None else {"size": arguments.size}
    media: dict[str, Media] = {}
    for column, kind in _pairs(arguments.media, "--media"):
        if kind == "image":
            media[column] = Image(root=root, **size)
        elif kind in ("audio", "text"):
            media[column] = Audio(root=root) if kind == "audio" else Text()
        else:
            raise ValueError(f"--media takes COLUMN=image, audio or text, got {kind!r}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SymphonyWarning)  # the notes say it
        page = Page(
            arguments.table,
            title=arguments.title if arguments.title is not None else arguments.table.stem,
            id=arguments.id,
            media=media,
            kinds=dict(_pairs(arguments.kind, "--kind")),
            filter=arguments.filter,
            group_by=arguments.group_by,
        )
    for note in page.notes:
        print(note, file=sys.stderr)
    return page


def _pairs(texts: Sequence[str], option: str) -> list[tuple[str, str]]:
    """``COLUMN=VALUE``; the column may hold an "=" itself."""
    found: list[tuple[str, str]] = []
    for text in texts:
        column, sign, value = text.rpartition("=")
        if not sign or not column or not value:
            raise ValueError(f"{option} takes COLUMN=..., got {text!r}")
        found.append((column, value))
    return found


def _add_view(command: argparse.ArgumentParser) -> None:
    _add_page(command)
    command.add_argument("--host", default="127.0.0.1", help="the address to listen on")
    command.add_argument("--port", type=int, default=0, help="0, the default, takes a free one")
    command.add_argument("--open", action="store_true", help="open it in a browser")
    command.epilog = (
        "examples:\n"
        "  symphony-ui view scores.parquet --open\n"
        "  symphony-ui view photos.csv --media file=image --root photos/"
    )


def _view(arguments: argparse.Namespace) -> None:
    server = _page(arguments).serve(
        host=arguments.host, port=arguments.port, open_browser=arguments.open
    )
    try:
        print(server.url, flush=True)
        server.wait()
    except KeyboardInterrupt:
        pass
    finally:
        server.close()


def _add_export(command: argparse.ArgumentParser) -> None:
    _add_page(command)
    command.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    command.add_argument(
        "--precision", choices=("exact", "display"), default="exact",
        help="display stores float64 as float32",
    )  # fmt: skip
    command.add_argument(
        "--max-mb", type=float, default=100.0, metavar="MB", help="a larger file is not written"
    )
    command.epilog = (
        "examples:\n"
        "  symphony-ui export scores.parquet -o scores.html\n"
        "  symphony-ui export scores.csv -o odd.html --filter 'score < 0.1' --title Odd"
    )


def _export(arguments: argparse.Namespace) -> None:
    from symphony_ui.html import size_text

    if not 0 < arguments.max_mb < 1e6:
        raise ValueError(f"--max-mb must be above 0, got {arguments.max_mb:g}")
    page = _page(arguments)
    path = page.save(
        arguments.output, max_bytes=int(arguments.max_mb * 1e6), precision=arguments.precision
    )
    print(f"{path}: {page}, {size_text(os.path.getsize(path))}")


def _add_analyze(command: argparse.ArgumentParser) -> None:
    command.add_argument("table", type=Path, help="Parquet, JSON Lines, Arrow or npz")
    command.add_argument(
        "--vectors", action="append", required=True, metavar="COLUMN",
        help="a column of one vector a row; may be repeated",
    )  # fmt: skip
    command.add_argument("-o", "--output", type=Path, required=True, metavar="FILE",
                         help="ends in .parquet, .arrow or .feather")  # fmt: skip
    command.add_argument("--label", metavar="COLUMN", help="of true classes")
    command.add_argument("--pred", metavar="COLUMN", help="of predicted classes")
    command.add_argument("--method", choices=("pca", "umap", "tsne"), default="pca")
    command.add_argument("--metric", choices=("cosine", "euclidean", "columns"), default="cosine")
    command.add_argument("--threshold", type=float, help="of duplicates; found by default")
    command.add_argument("--components", type=int, default=5, help="of the mixture; 5")
    command.add_argument("--seed", type=int, default=0)
    command.epilog = (
        "examples:\n"
        "  symphony-ui analyze images.npz --vectors clip --label label -o images.parquet\n"
        "  symphony-ui view images.parquet --open"
    )


def _analyze(arguments: argparse.Namespace) -> None:
    from symphony_ui.enrich import enrich

    found = enrich(
        arguments.table,
        arguments.output,
        vectors=arguments.vectors,
        label=arguments.label,
        pred=arguments.pred,
        method=arguments.method,
        metric=arguments.metric,
        threshold=arguments.threshold,
        components=arguments.components,
        seed=arguments.seed,
    )
    print(found)
    print(arguments.output)


def _add_new(command: argparse.ArgumentParser) -> None:
    command.add_argument("name", help="in small letters, such as violin or word_cloud")
    command.add_argument("--folder", type=Path, default=Path(), help="to write the two files in")
    command.epilog = "example:\n  symphony-ui new violin && python violin.py"


def _new(arguments: argparse.Namespace) -> None:
    from symphony_ui.scaffold import scaffold

    for path in scaffold(arguments.name, arguments.folder):
        print(path)


def _add_check(command: argparse.ArgumentParser) -> None:
    command.add_argument("pages", type=Path, nargs="+", metavar="page.html")
    command.epilog = "example:\n  symphony-ui check scores.html"


def _check(arguments: argparse.Namespace) -> int:
    from symphony_ui.check import check

    found = [check(path) for path in arguments.pages]
    for one in found:
        print(one)
    return 1 if any(one.problems for one in found) else 0


if __name__ == "__main__":
    sys.exit(main())
