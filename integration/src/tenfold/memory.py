"""How much memory a job adds to a process: the job runs in a process of its own."""

import subprocess
import sys

_PROGRAM = """
import resource
{setup}
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
{job}
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(after - before)
"""


def extra_mebibytes(setup: str, job: str) -> float:
    """Return by how much the job raises the process' peak of resident memory, in MiB.

    Args:
        setup: Python statements that come before: imports, inputs, a small run to warm up.
        job: Python statements that are measured.

    Raises:
        RuntimeError: if the program fails, with the last line that it printed.
    """
    program = _PROGRAM.format(setup=setup, job=job)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the measured job failed: {done.stderr.strip().splitlines()[-1]}")
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return int(done.stdout) / unit
