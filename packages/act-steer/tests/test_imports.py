"""What the package costs to install and to import."""

import re
import subprocess
import sys
from importlib.metadata import requires

OPTIONAL = ("transformers", "diffusers", "ot", "matplotlib", "scipy", "pandas")


def test_importing_it_imports_nothing_optional():
    listing = f"import sys, act_steer; print([m for m in {OPTIONAL!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_it_asks_for_four_packages():
    plain = [line for line in requires("act-steer") if "extra ==" not in line]
    assert sorted(re.split(r"[><=;\[ ]", line)[0] for line in plain) == [
        "numpy",
        "safetensors",
        "torch",
        "tqdm",
    ]
