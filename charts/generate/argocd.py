"""The health checks as Argo CD is told of them: keys of the ConfigMap argocd-cm."""

from __future__ import annotations

from pathlib import Path

_HEAD = """\
# For Argo CD: kubectl -n argocd patch configmap argocd-cm --patch-file argocd-cm.yaml
# Made of health/*.lua by `make fmt`.
data:
"""


def text(folder: Path) -> str:
    """``folder`` holds a Lua file for each kind, named GROUP_KIND.lua."""
    parts = [_HEAD]
    for file in sorted(folder.glob("*.lua")):
        parts.append(f"  resource.customizations.health.{file.stem}: |\n")
        parts += [f"    {line}\n" for line in file.read_text().splitlines()]
    return "".join(parts)
