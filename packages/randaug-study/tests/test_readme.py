import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_every_example_of_the_readme_is_run():
    fences = re.findall(r"(?m)^```python$", README.read_text())
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run([*command, str(README)], capture_output=True, text=True, check=True)
    assert len(fences) >= 1
    assert len(re.findall(r"README\.md::", done.stdout)) == len(fences)
