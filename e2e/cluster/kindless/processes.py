"""Starting processes that outlive the command, and ending those of one cluster and no others.

Each process of a cluster carries a mark in its environment, which its children inherit. What a
container runs does not, but it descends from a process that does.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from kindless.errors import Problem

MARK = "KINDLESS_CLUSTER"
# The machine itself, and a cluster's pods, Services and names.
LOCAL = ("localhost", "127.0.0.1", "10.244.0.0/16", "10.96.0.0/16", ".svc", ".cluster.local")


def environment(cluster: Path, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment for a process of the cluster kept in this folder."""
    inherited = {**os.environ, **(more or {})}
    return {**inherited, **without_proxy(inherited), MARK: str(cluster)}


def without_proxy(variables: Mapping[str, str]) -> dict[str, str]:
    """What keeps a proxy out of the way between a cluster's parts, if there is one."""
    if not any(name.lower() in ("http_proxy", "https_proxy") for name in variables):
        return {}
    before = variables.get("NO_PROXY") or variables.get("no_proxy") or ""
    exempt = ",".join(filter(None, [before, *LOCAL]))
    return {"NO_PROXY": exempt, "no_proxy": exempt}


@dataclass(frozen=True)
class Command:
    """How a component is run, written down so that it can be run again."""

    name: str
    arguments: list[str]
    environment: dict[str, str] = field(default_factory=dict)

    def save(self, cluster: Path) -> None:
        file = cluster / "commands" / f"{self.name}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(asdict(self), indent=2))

    @classmethod
    def load(cls, cluster: Path, name: str) -> "Command | None":
        file = cluster / "commands" / f"{name}.json"
        return cls(**json.loads(file.read_text())) if file.exists() else None


def spawn(cluster: Path, command: Command) -> int:
    """Run COMMAND detached, its output appended to the cluster's logs; returns its pid."""
    log = cluster / "logs" / f"{command.name}.log"
    pids = cluster / "pids"
    for folder in (log.parent, pids):
        folder.mkdir(exist_ok=True)
    # A shell in between makes it a child of init, which reaps it, and not of a test's process.
    started = subprocess.run(
        [
            *("sh", "-c", 'log=$1; shift; setsid "$@" >>"$log" 2>&1 </dev/null & echo $!'),
            *("sh", str(log), *command.arguments),
        ],
        cwd=cluster,
        env=environment(cluster, command.environment),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    (pids / f"{command.name}.pid").write_text(started.stdout.strip())
    return int(started.stdout)


def alive(pid: int) -> bool:
    """Whether the process runs; one that ended but was not reaped does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return state_of(stat) not in "ZX"


def state_of(stat: str) -> str:
    # The second field is the program's name in brackets, which may itself hold any character.
    return stat.rpartition(")")[2].split()[0]


def parent_of(stat: str) -> int:
    return int(stat.rpartition(")")[2].split()[1])


def belongs(pid: int, cluster: Path) -> bool:
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
    return f"{MARK}={cluster}".encode() in variables and alive(pid)


def of_cluster(cluster: Path) -> set[int]:
    """The living processes that carry the cluster's mark."""
    return {pid for pid in _all() if belongs(pid, cluster)}


def family(cluster: Path) -> set[int]:
    """The cluster's processes and all that descend from them, so containers too; never us."""
    children: dict[int, list[int]] = {}
    for pid in _all():
        with contextlib.suppress(OSError):
            stat = Path(f"/proc/{pid}/stat").read_text()
            if state_of(stat) not in "ZX":
                children.setdefault(parent_of(stat), []).append(pid)
    members: set[int] = set()
    unseen = list(of_cluster(cluster))
    while unseen:
        pid = unseen.pop()
        if pid not in members:
            members.add(pid)
            unseen += children.get(pid, [])
    return members - {os.getpid()}


def end_all(cluster: Path, seconds: float = 20) -> None:
    """Kill the cluster's processes until there is none left, as some may be starting others."""
    deadline = time.monotonic() + seconds
    while members := family(cluster):
        if time.monotonic() > deadline:
            raise Problem(f"Processes {sorted(members)} of {cluster.name} do not end: end them.")
        end(members)


def end(pids: Iterable[int], seconds: float = 10) -> None:
    """Kill these processes and wait until each is gone."""
    deadline = time.monotonic() + seconds
    handles = []
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            handles.append(os.pidfd_open(pid))
    try:
        for handle in handles:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
        for handle in handles:
            wait_for(handle, deadline - time.monotonic())
    finally:
        for handle in handles:
            os.close(handle)


def wait_for(handle: int, seconds: float | None = None) -> None:
    """Wait until the process behind a pidfd ends, which makes it readable."""
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    poll.poll(None if seconds is None else max(0, seconds) * 1000)


def _all() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
