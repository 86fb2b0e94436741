"""Kubernetes' programs and tools around it, built once from pinned Go modules.

Each folder of `tools/` is a Go module that only names tools, or is one. A binary is kept under a
hash of all that decides what it is, so checkouts with the same pins share it and a changed pin
builds anew.
To add one: a folder with `go.mod` and `go.sum`, and a row in `BINARIES`.
"""

import hashlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from kindless import paths
from kindless.errors import Problem
from kindless.say import say


@dataclass(frozen=True)
class Module:
    """A folder of `tools/`, the module it is there for, and where its programs' version goes."""

    name: str
    main: str
    version_variables: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()  # of the build

    @property
    def folder(self) -> Path:
        return paths.tools() / self.name

    def version(self) -> str:
        return version_of(self.main, (self.folder / "go.mod").read_text())

    def ldflags(self) -> str:
        version = self.version()
        return "".join(["-s -w", *(f" -X {name}={version}" for name in self.version_variables)])

    def directory(self) -> Path:
        """Where this module's binaries are kept, as pinned now."""
        return paths.cache() / "bin" / f"{self.name}-{self.key()}"

    def key(self) -> str:
        files = [*sorted(self.folder.glob("*.go")), self.folder / "go.mod", self.folder / "go.sum"]
        pins = [file.read_bytes() for file in files]
        flags = [*GO_FLAGS, *self.tags, self.ldflags(), repr(sorted(GO_ENVIRONMENT.items()))]
        return key_of(*pins, *(flag.encode() for flag in [*flags, go_version()]))


@dataclass(frozen=True)
class Binary:
    name: str
    module: Module
    package: str
    seconds: int  # how long a first build takes on two cores

    def path(self) -> Path:
        return self.module.directory() / self.name


KUBERNETES = Module(
    "kubernetes",
    "k8s.io/kubernetes",
    ("k8s.io/component-base/version.gitVersion", "k8s.io/client-go/pkg/version.gitVersion"),
)
ETCD = Module("etcd", "go.etcd.io/etcd/server/v3")
KWOK = Module("kwok", "sigs.k8s.io/kwok", ("sigs.k8s.io/kwok/pkg/consts.Version",))
HELM = Module("helm", "helm.sh/helm/v4", ("helm.sh/helm/v4/internal/version.version",))
KUEUE = Module("kueue", "sigs.k8s.io/kueue", ("sigs.k8s.io/kueue/pkg/version.GitVersion",))
KSTATUS = Module("kstatus", "sigs.k8s.io/cli-utils")
COREDNS = Module("coredns", "github.com/coredns/coredns")
PROMETHEUS = Module(
    "prometheus",
    "github.com/prometheus/prometheus",
    ("github.com/prometheus/common/version.Version",),
    tags=("remove_all_sd", "enable_kubernetes_sd"),  # not those of each cloud
)

BINARIES = {
    binary.name: binary
    for binary in (
        Binary("kube-apiserver", KUBERNETES, "k8s.io/kubernetes/cmd/kube-apiserver", 190),
        Binary(
            "kube-controller-manager",
            KUBERNETES,
            "k8s.io/kubernetes/cmd/kube-controller-manager",
            45,
        ),
        Binary("kube-scheduler", KUBERNETES, "k8s.io/kubernetes/cmd/kube-scheduler", 5),
        Binary("kubectl", KUBERNETES, "k8s.io/kubernetes/cmd/kubectl", 15),
        Binary("kubelet", KUBERNETES, "k8s.io/kubernetes/cmd/kubelet", 15),
        Binary("kube-proxy", KUBERNETES, "k8s.io/kubernetes/cmd/kube-proxy", 5),
        Binary("etcd", ETCD, "go.etcd.io/etcd/server/v3", 20),
        # Named as the component it is, since kwokctl names pid and log files after it.
        Binary("kwok-controller", KWOK, "sigs.k8s.io/kwok/cmd/kwok", 60),
        Binary("kwokctl", KWOK, "sigs.k8s.io/kwok/cmd/kwokctl", 10),
        Binary("coredns", COREDNS, "github.com/coredns/coredns", 150),
        Binary("helm", HELM, "helm.sh/helm/v4/cmd/helm", 90),
        Binary("kueue", KUEUE, "sigs.k8s.io/kueue/cmd/kueue", 300),
        Binary("kstatus", KSTATUS, "kindless/tools/kstatus", 20),
        Binary("promtool", PROMETHEUS, "github.com/prometheus/prometheus/cmd/promtool", 80),
        Binary("prometheus", PROMETHEUS, "github.com/prometheus/prometheus/cmd/prometheus", 50),
    )
}
CONTROL_PLANE = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubectl",
    "etcd",
    "kwok-controller",
    "kwokctl",
)
NODE = ("kubelet", "kube-proxy", "coredns")

GO_FLAGS = ("-trimpath", "-buildvcs=false")
# Without cgo the build needs no C compiler and the result no library of this machine.
GO_ENVIRONMENT = {"CGO_ENABLED": "0", "GOFLAGS": ""}


def key_of(*parts: bytes) -> str:
    """A short hash that differs when any part differs."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()[:12]


def version_of(module: str, go_mod: str) -> str:
    """The version that a go.mod pins MODULE at."""
    found = re.search(rf"^(?:require )?\s*{re.escape(module)} (v\S+)", go_mod, re.MULTILINE)
    if found is None:
        raise Problem(f"go.mod does not pin {module}: add it with `go get -tool`.")
    return found[1]


@cache
def go_version() -> str:
    if shutil.which("go") is None:
        raise Problem("Go is not on PATH: install Go 1.26 or newer, it builds Kubernetes here.")
    # Asked in a module's folder, since its go.mod may select another toolchain.
    asked = subprocess.run(
        ["go", "env", "GOVERSION"],
        cwd=KUBERNETES.folder,
        capture_output=True,
        text=True,
    )
    if asked.returncode:
        raise Problem(f"Go does not work here: {asked.stderr.strip()}")
    return asked.stdout.strip()


def path(name: str) -> Path:
    """The built binary NAME, built now if it is missing."""
    build([name])
    return BINARIES[name].path()


def build(names: Iterable[str]) -> None:
    """Build those of NAMES that are missing; one process builds at a time."""
    wanted = [BINARIES[name] for name in names]
    if all(binary.path().exists() for binary in wanted):
        return
    with paths.locked("build", "waiting for another build to finish …"):
        for binary in wanted:
            if not binary.path().exists():
                _build(binary)


def _build(binary: Binary) -> None:
    say(f"building {binary.name} (once, about {binary.seconds} s) …")
    target = binary.path()
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.unfinished")
    began = time.monotonic()
    built = subprocess.run(
        [
            *("go", "build", *GO_FLAGS, "-tags", ",".join(binary.module.tags)),
            *("-ldflags", binary.module.ldflags()),
            *("-o", str(unfinished), binary.package),
        ],
        cwd=binary.module.folder,
        env=os.environ | GO_ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    if built.returncode:
        raise Problem(f"{binary.name} could not be built:\n{built.stderr.strip()[-2000:]}")
    # Renamed when whole, so that a build cut short is never taken for a binary.
    unfinished.rename(target)
    say(f"built {binary.name} in {time.monotonic() - began:.0f} s")
