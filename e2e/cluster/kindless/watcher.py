"""A process that waits for another to die, and then deletes its cluster."""

import contextlib
import os
import sys

from kindless import processes
from kindless.processes import Command
from kindless.record import Cluster


def start(cluster: Cluster, owner: int) -> None:
    """Watch OWNER. The watcher carries the cluster's mark, so deleting the cluster ends it."""
    arguments = [sys.executable, "-m", "kindless.watcher", cluster.name, str(owner)]
    processes.spawn(cluster.folder, Command("watcher", arguments))


def main(name: str, owner: int) -> None:
    from kindless import lifecycle

    # An owner that is gone already is an owner that died.
    with contextlib.suppress(ProcessLookupError):
        processes.wait_for(os.pidfd_open(owner))
    lifecycle.delete(name)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
