"""Where things are kept: everything is below one cache folder, shared by all checkouts."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kindless.say import say


def cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base).absolute() / "kindless"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def clusters() -> Path:
    folder = cache() / "clusters"
    folder.mkdir(exist_ok=True)
    return folder


def data(name: str) -> Path:
    """A file shipped with the package."""
    return Path(__file__).parent / "data" / name


def tools() -> Path:
    """The folder of pinned Go modules: beside the package in a checkout, inside it in a wheel."""
    inside = Path(__file__).parent / "tools"
    return inside if inside.is_dir() else Path(__file__).parents[1] / "tools"


@contextmanager
def locked(name: str, waiting: str) -> Iterator[None]:
    """Hold the lock NAME; the kernel frees it when the process dies, however it dies."""
    folder = cache() / "locks"
    folder.mkdir(exist_ok=True)
    with (folder / name).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(waiting)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
