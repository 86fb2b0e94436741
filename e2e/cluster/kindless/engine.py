"""Whether this machine has what kind needs, so that nothing of ours is."""

import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path


@cache
def docker() -> bool:
    """Whether a Docker engine answers; a client alone is not enough."""
    if shutil.which("docker") is None:
        return False
    try:
        asked = subprocess.run(["docker", "info"], capture_output=True, timeout=20)
    except subprocess.TimeoutExpired:
        return False
    return asked.returncode == 0


def kind_binary() -> Path:
    """The command with kind's contract to use here: kind itself where it works, or this one."""
    real = shutil.which("kind")
    if real is not None and docker():
        return Path(real)
    here = Path(sys.argv[0])
    if here.name == "kindless":
        return here.absolute()
    # Run by `python -m`: the console script lies beside the interpreter.
    return Path(sys.executable).parent / "kindless"
