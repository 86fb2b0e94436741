"""Programs that come as Debian packages, installed when something asked for needs them."""

import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from kindless.errors import Problem
from kindless.say import say

# What shows that a package is there: a program, or a file for those without one.
SIGNS = {
    "buildah": "buildah",
    "ca-certificates": "/etc/ssl/certs/ca-certificates.crt",
    "chromium": "chromium",
    "containerd": "containerd",
    "containernetworking-plugins": "/usr/lib/cni/bridge",
    "gcc": "gcc",
    "iproute2": "ip",
    "libc6-dev": "/usr/include/unistd.h",
    "mmdebstrap": "mmdebstrap",
    "nftables": "nft",
    "redis-tools": "redis-check-rdb",
    "runc": "runc",
}
NODE = (
    "containerd",
    "containernetworking-plugins",
    "gcc",
    "iproute2",
    "libc6-dev",
    "nftables",
    "runc",
)


def missing(names: Iterable[str]) -> list[str]:
    return [name for name in names if not _there(SIGNS[name])]


def ensure(names: Iterable[str], purpose: str) -> None:
    """Install what is missing of these packages."""
    wanted = missing(names)
    if not wanted:
        return
    listing = " ".join(wanted)
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise Problem(f"{purpose} needs {listing}: install them, or run this as root on Debian.")
    say(f"installing Debian packages for {purpose}: {listing} (about 30 s) …")
    for command in (["update"], ["install", "--yes", "--no-install-recommends", *wanted]):
        done = subprocess.run(
            ["apt-get", "--quiet", *command],
            env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        # A stale list is no reason to stop, a package that cannot be had is.
        if done.returncode and command[0] == "install":
            raise Problem(f"{listing} could not be installed: {done.stderr.strip()[-500:]}")


def _there(sign: str) -> bool:
    return Path(sign).exists() if sign.startswith("/") else shutil.which(sign) is not None
