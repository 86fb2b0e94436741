"""What something costs: requests that the API server has served, CPU, memory."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.api import Api

_TICK: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_LABEL: Final = re.compile(r'(\w+)="([^"]*)"')
WRITES: Final = frozenset({"POST", "PUT", "PATCH", "APPLY", "DELETE", "DELETECOLLECTION"})


@dataclass(frozen=True, order=True)
class Request:
    """A kind of request, as the API server counts them: ``PATCH``, ``jobs/status``."""

    verb: str
    resource: str

    @property
    def writes(self) -> bool:
        return self.verb in WRITES


async def requests(api: Api) -> Counter[Request]:
    """All that the API server has served since its start, by everybody, whatever the answer."""
    found: Counter[Request] = Counter()
    text = await api.text("/metrics")
    for line in text.splitlines():
        if line.startswith("apiserver_request_total{"):
            labels = dict(_LABEL.findall(line))
            parts = (labels["resource"], labels.get("subresource", ""))
            resource = "/".join(part for part in parts if part)
            found[Request(labels["verb"], resource)] += int(float(line.rpartition(" ")[2]))
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far, all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def resident_mib(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE / 2**20


def forget_peak(pid: int) -> None:
    """https://man7.org/linux/man-pages/man5/proc_pid_clear_refs.5.html"""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_mib(pid: int) -> float:
    """The most that was resident at any time, or since ``forget_peak``."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    [found] = [line for line in lines if line.startswith("VmHWM:")]
    return int(found.split()[1]) / 1024
