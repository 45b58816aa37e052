"""Compiles the kernel beside its source, for wheels and editable installs alike."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FLAGS = ["-O3", "-std=gnu11", "-fPIC", "-shared", "-ffp-contract=off", "-fno-math-errno"]


class KernelHook(BuildHookInterface):
    """Only a warning where no compiler is: the package then runs in pure torch."""

    def initialize(self, version: str, build_data: dict) -> None:
        """Compile, and name the wheel after the platform."""
        source = Path(self.root, "src", "deeppcr", "_kernel.c")
        target = source.with_suffix(".so")
        target.unlink(missing_ok=True)
        compiler = shutil.which(os.environ.get("CC", "cc"))
        done = compiler and subprocess.run([compiler, *FLAGS, str(source), "-o", str(target)])
        if not done or done.returncode:
            print("deeppcr: no kernel (no working C compiler); pure torch it is", file=sys.stderr)
            return
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data.update(pure_python=False, tag=f"py3-none-{platform}")
