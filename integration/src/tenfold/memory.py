"""How much memory a job adds to a process: the job runs in a process of its own."""

import subprocess
import sys
from pathlib import Path

_PROGRAM = """
from pathlib import Path
def kibibytes(field):
    return int(Path("/proc/self/status").read_text().split(field + ":")[1].split()[0])
{setup}
before = kibibytes("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # starts the peak anew
{job}
print(kibibytes("VmHWM") - before)
"""


def extra_mebibytes(setup: str, job: str) -> float | None:
    """Return how far a job's peak of resident memory is above where it started, in MiB.

    Args:
        setup: Python statements that come before: imports, inputs, a small run to warm up.
        job: Python statements that are measured.

    Returns:
        MiB; None where the system does not tell (all but Linux).

    Raises:
        RuntimeError: if the program fails, with the last line that it printed.
    """
    if not Path("/proc/self/clear_refs").exists():
        return None
    program = _PROGRAM.format(setup=setup, job=job)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the measured job failed: {done.stderr.strip().splitlines()[-1]}")
    return int(done.stdout) / 1024
