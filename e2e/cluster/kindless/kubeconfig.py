"""Kubeconfig files: one cluster's own, and its entry in a file that others use too."""

import base64
import os
from pathlib import Path
from typing import Any

import yaml

from kindless.errors import Problem

KINDS = ("clusters", "contexts", "users")


def context_name(cluster: str) -> str:
    """The name kind gives, so that scripts for kind find it."""
    return f"kind-{cluster}"


def default_file() -> Path:
    """The file kubectl reads, and so the one that gets the entry when none is named."""
    first = os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
    return Path(first) if first else Path.home() / ".kube" / "config"


def document(
    cluster: str, server: str, *, authority: bytes, certificate: bytes, key: bytes
) -> dict[str, Any]:
    """A kubeconfig that holds its certificates, so that it works from anywhere."""
    name = context_name(cluster)
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": name,
                "cluster": {"server": server, "certificate-authority-data": _encoded(authority)},
            }
        ],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
        "users": [
            {
                "name": name,
                "user": {
                    "client-certificate-data": _encoded(certificate),
                    "client-key-data": _encoded(key),
                },
            }
        ],
    }


def _encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def merged(base: dict[str, Any], added: dict[str, Any]) -> dict[str, Any]:
    """BASE with the entries of ADDED in place of its own of the same name, and made current."""
    result = {"apiVersion": "v1", "kind": "Config", **base}
    for kind in KINDS:
        names = {entry["name"] for entry in added[kind]}
        kept = [entry for entry in base.get(kind) or [] if entry["name"] not in names]
        result[kind] = kept + added[kind]
    result["current-context"] = added["current-context"]
    return result


def without(base: dict[str, Any], cluster: str) -> dict[str, Any]:
    """BASE without the entries of a cluster."""
    name = context_name(cluster)
    result = dict(base)
    for kind in KINDS:
        result[kind] = [entry for entry in base.get(kind) or [] if entry["name"] != name]
    if result.get("current-context") == name:
        result["current-context"] = ""
    return result


def read(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text()) if file.exists() else None
    except yaml.YAMLError as error:
        raise Problem(f"{file} is not YAML: mend it or name another with --kubeconfig.") from error
    if content is not None and not isinstance(content, dict):
        raise Problem(f"{file} is no kubeconfig: name another with --kubeconfig.")
    return content or {}


def write(file: Path, content: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f".{file.name}.unfinished")
    unfinished.touch(mode=0o600)
    unfinished.write_text(yaml.safe_dump(content, sort_keys=False))
    unfinished.replace(file)


def add(file: Path, content: dict[str, Any]) -> None:
    write(file, merged(read(file), content))


def remove(file: Path, cluster: str) -> None:
    base = read(file)
    if any(entry["name"] == context_name(cluster) for entry in base.get("clusters") or []):
        write(file, without(base, cluster))
