"""Write what is generated, or with ``--check`` tell what differs."""

from __future__ import annotations

import sys
from pathlib import Path

from charts.generate import argocd, dashboard, manifest, queue_values, values

_ROOT = Path(__file__).parents[2]
_CHART = _ROOT / "charts" / "supercheck-operator"


def main() -> int:
    files = {
        _CHART / "values.schema.json": queue_values.text(_CHART, _ROOT / "crds"),
        _CHART / "files" / "dashboards" / "supercheck-operator.json": dashboard.text(),
        _ROOT / "gitops" / "argocd" / "argocd-cm.yaml": argocd.text(_ROOT / "gitops/argocd/health"),
        _ROOT / "docs" / "values.md": values.text(_CHART),
        _ROOT / "install.yaml": manifest.text(_CHART),
    }
    if "--check" not in sys.argv:
        for file, text in files.items():
            file.write_text(text)
        return 0
    differing = [
        file for file, text in files.items() if not file.is_file() or file.read_text() != text
    ]
    for file in differing:
        sys.stderr.write(f"{file.relative_to(_ROOT)} is not what is generated; run make fmt.\n")
    return bool(differing)


if __name__ == "__main__":
    sys.exit(main())
