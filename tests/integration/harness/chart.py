"""The chart as Helm renders it."""

import subprocess
import sys
from functools import cache
from pathlib import Path

import yaml

from harness.api import Raw

CHART = Path(__file__).parents[3] / "charts" / "supercheck-operator"
RELEASE = "supercheck-operator"


@cache
def helm() -> str:
    """The path of helm, which is built if it is missing."""
    kindless = Path(sys.executable).with_name("kindless")
    found = subprocess.run(
        [kindless, "which", "helm"], check=True, stdout=subprocess.PIPE, text=True
    )
    return found.stdout.strip()


def rendered(*arguments: str, namespace: str = "supercheck") -> list[Raw]:
    """Every manifest, with arguments such as ``--set=replicas=0``."""
    return [each for each in yaml.safe_load_all(render(*arguments, namespace=namespace)) if each]


def render(*arguments: str, namespace: str = "supercheck") -> str:
    command = [helm(), "template", RELEASE, str(CHART), f"--namespace={namespace}", *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout
