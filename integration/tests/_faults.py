"""Runs code that is killed in the middle of what it writes; a process of its own, for the tests.

It imports the packages once and then forks a child a job. A job is a line of JSON on stdin: the
``code`` to run in the folder ``cwd``, and where it dies by SIGKILL: before the ``event``-th time
that it opens for writing, moves, makes or removes something in that folder, or by the kernel's
hand as it writes beyond ``bytes`` of a file. The answer is a line of JSON: the ``status`` (negative
for a signal), the ``events`` that were counted, and what stood on stderr.
"""

import contextlib
import json
import os
import resource
import signal
import sys
import tempfile

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
MOVES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink")


def run(job, report):
    """Run a job's code in this process, which ends."""
    folder = os.path.realpath(job["cwd"])
    os.chdir(folder)
    count = 0

    def within(path):
        if isinstance(path, int) or path is None:
            return False
        return os.path.abspath(os.fsdecode(path)).startswith(folder + os.sep)

    def hook(event, arguments):
        nonlocal count
        if event == "open":
            path, _, flags = arguments
            counted = bool(flags & WRITES) and within(path)
        else:
            counted = event in MOVES and within(arguments[0])
        if counted:
            count += 1
            if count == job.get("event"):
                os.kill(os.getpid(), signal.SIGKILL)

    sys.dont_write_bytecode = True
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if job.get("bytes") is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (job["bytes"], job["bytes"]))
    sys.addaudithook(hook)
    code = 0
    try:
        exec(compile(job["code"], "job", "exec"), {"__name__": "__job__"})
    except SystemExit as error:
        code = error.code or 0
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        code = 70
    sys.stderr.flush()
    os.write(report, str(count).encode())
    os._exit(code)


def fork(job):
    """The answer to a job."""
    report, end = os.pipe()
    with tempfile.TemporaryFile() as said:
        if (child := os.fork()) == 0:
            os.close(report)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(said.fileno(), 2)
            run(job, end)
        os.close(end)
        _, status = os.waitpid(child, 0)
        events = os.read(report, 20)
        os.close(report)
        said.seek(0)
        text = said.read().decode(errors="replace")
    return {
        "status": os.waitstatus_to_exitcode(status), "events": int(events or 0), "said": text
    }  # fmt: skip


def main():
    """Answer jobs until stdin ends."""
    import importlib

    for name in sys.argv[1:]:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    import torch

    torch.set_num_threads(1)  # no pool of threads may exist before a fork
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        print(json.dumps(fork(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
