"""Waiting until executions are over, by watches."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from supercheck_operator.cli import view
from supercheck_operator.cli.cluster import Cluster
from supercheck_operator.cli.exits import no_execution
from supercheck_operator.cli.mirror import Mirror, Tell
from supercheck_operator.cli.together import together
from supercheck_operator.kube import EXECUTIONS
from supercheck_operator.resources import Phase, Raw, Reason


@dataclass
class Target:
    """An execution that is waited for; without a ``uid`` it is whichever has that name first."""

    namespace: str
    name: str
    uid: str = ""
    seen: Raw | None = field(default=None, repr=False)
    """The newest that is known of it."""
    lost: bool = False
    """It was deleted before it was seen to be over."""

    @property
    def over(self) -> bool:
        return self.lost or _phase(self.seen).final


def _phase(seen: Raw | None) -> Phase:
    return Phase(seen["status"]["phase"]) if seen else Phase.QUEUED


async def until_over(cluster: Cluster, targets: Iterable[Target], tell: Tell) -> None:
    """Until each of ``targets`` is over; what becomes of it meanwhile is told.

    Raises Problem for a name that nothing has, and KubeError.
    """
    by_namespace: dict[str, list[Target]] = defaultdict(list)
    for target in targets:
        by_namespace[target.namespace].append(target)
    async with together() as tasks:
        for namespace, some in by_namespace.items():
            tasks.create_task(_follow(cluster, namespace, some, tell))


async def _follow(cluster: Cluster, namespace: str, targets: list[Target], tell: Tell) -> None:
    one = targets[0].name if len({target.name for target in targets}) == 1 else ""
    mirror = Mirror(
        cluster.kube,
        EXECUTIONS,
        tell=tell,
        namespace=namespace,
        fields=f"metadata.name={one}" if one else "",
        patient=all(target.uid for target in targets),
    )
    async for _ in mirror.changes():
        by_name = {each["metadata"]["name"]: each for each in mirror.objects.values()}
        for target in targets:
            if not target.over:
                await _take(cluster, target, by_name.get(target.name), tell)
        if all(target.over for target in targets):
            return


async def _take(cluster: Cluster, target: Target, found: Raw | None, tell: Tell) -> None:
    if found is None and not target.uid:
        raise no_execution(target.name, target.namespace)
    if found is None or (target.uid and found["metadata"]["uid"] != target.uid):
        target.lost = True
        return
    before, target.seen, target.uid = target.seen, found, found["metadata"]["uid"]
    phase = _phase(found)
    if before is not None and phase is _phase(before):
        return
    if phase is Phase.RUNNING:
        tell(f"{target.name} runs.")
    elif phase is Phase.QUEUED:
        standing = (await view.standings_of(cluster, [found])).get(target.uid)
        verb = "starts" if standing and standing.reason is Reason.STARTING else "waits"
        tell(f"{target.name} {verb}. {standing.message if standing else ''}".strip())
