"""The chart as one manifest, for `kubectl apply` without Helm."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_NAMESPACE = "supercheck"
_HEAD = f"""\
# Everything that the chart installs by default, for
#   kubectl apply --server-side -f install.yaml
# Made by `make fmt`.
apiVersion: v1
kind: Namespace
metadata:
  name: {_NAMESPACE}
  labels:
    pod-security.kubernetes.io/enforce: restricted
"""


def text(chart: Path) -> str:
    kindless = Path(sys.executable).with_name("kindless")
    helm = _output(str(kindless), "which", "helm").strip()
    rendered = _output(
        *(helm, "template", "supercheck-operator", str(chart), f"--namespace={_NAMESPACE}"),
        "--no-hooks",
    )
    # What Helm says of itself is not so here.
    kept = [
        line
        for line in rendered.splitlines()
        if "helm.sh/" not in line and "managed-by: Helm" not in line
    ]
    return _HEAD + "\n".join(kept).replace("  annotations:\n  labels:", "  labels:") + "\n"


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout  # noqa: S603 - ours
