"""Debian's Prometheus: on PATH, or unpacked into the cache, which needs no root."""

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

_PACKAGE = "prometheus"


@cache
def tool(name: str) -> str:
    """The path of ``prometheus`` or ``promtool``."""
    return shutil.which(name) or str(_unpacked() / "usr" / "bin" / name)


def _unpacked() -> Path:
    cache_home = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
    folder = cache_home / "supercheck-operator" / _PACKAGE
    if not folder.is_dir():
        unfinished = folder.with_name(f".{_PACKAGE}-{os.getpid()}")
        unfinished.mkdir(parents=True)
        # -o: root would hand the download to a user who may not write here.
        _run(unfinished, "apt-get", "-o", "APT::Sandbox::User=root", "download", _PACKAGE)
        [package] = unfinished.glob("*.deb")
        _run(unfinished, "dpkg-deb", "--extract", package.name, ".")
        package.unlink()
        try:
            unfinished.rename(folder)
        except OSError:  # another test run was first
            shutil.rmtree(unfinished)
    return folder


def _run(folder: Path, *command: str) -> None:
    done = subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
