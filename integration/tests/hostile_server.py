"""The process that reads hostile files, and says what came of each."""

import os
import resource
import warnings
from pathlib import Path

import matplotlib
import torch


def serve(line, folder, setup, name):
    """Reads one file after another in a process of its own, and says what came of each."""
    torch.set_num_threads(1)
    matplotlib.use("agg")
    os.chdir(folder)
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    warnings.simplefilter("ignore")
    given = {}
    exec(compile(setup, "setup", "exec"), given)
    given["read"](name)
    own = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (own + (1 << 30), own + (1 << 30)))
    line.send("ready")
    while (name := line.recv()) is not None:
        line.send(answer_to(given["read"], name))


def answer_to(read, name):
    """What is wrong with how a file is read; empty if nothing is."""
    try:
        read(name)
    except (ValueError, TypeError, OSError) as error:
        return "" if str(error).strip() else f"{type(error).__name__} says nothing"
    except SystemExit as error:
        return "" if error.code in (0, 1, 2) else f"exit {error.code}"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    return ""
