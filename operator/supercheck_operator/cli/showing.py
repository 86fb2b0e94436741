"""``get`` and ``queue``: what there is, and why it waits."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime

from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from supercheck_operator.cli import output, tables, view
from supercheck_operator.cli.cluster import Cluster
from supercheck_operator.cli.exits import Exit, Problem, no_execution
from supercheck_operator.cli.standing import SHOWN, View, lineup
from supercheck_operator.clock import utc_now
from supercheck_operator.kube import EXECUTIONS, NotFoundError
from supercheck_operator.resources import Raw, TestExecution


async def get(
    cluster: Cluster,
    names: Sequence[str],
    *,
    everywhere: bool,
    queue: str | None,
    phase: str | None,
    form: str | None,
) -> None:
    raws = [
        output.with_type(raw)
        for raw in await _found(cluster, names, everywhere=everywhere)
        if queue in (None, raw["spec"]["queue"]) and phase in (None, raw["status"]["phase"])
    ]
    standings = await view.standings_of(cluster, raws)
    if form:
        told = [tables.with_reason(raw, standings.get(raw["metadata"]["uid"])) for raw in raws]
        output.dump(told, form, one=len(names) == 1)
        return
    models = [TestExecution.model_validate(raw) for raw in raws]
    if len(names) == 1 and models:
        [execution] = models
        standing = standings.get(execution.metadata.uid)
        output.show(tables.details(execution, standing, utc_now()))
    elif models:
        output.show(tables.executions(models, standings, utc_now(), with_namespace=everywhere))
    else:
        where = "any namespace" if everywhere else f"namespace {cluster.namespace}"
        output.tell(f"There is no such TestExecution in {where}.")


async def _found(cluster: Cluster, names: Sequence[str], *, everywhere: bool) -> list[Raw]:
    if not names:
        namespace = "" if everywhere else cluster.namespace
        return (await cluster.kube.list(EXECUTIONS, namespace=namespace))[0]
    found = []
    for name in names:
        try:
            found.append(await cluster.kube.get(EXECUTIONS, name, cluster.namespace))
        except NotFoundError as error:
            raise no_execution(name, cluster.namespace) from error
    return found


async def queues(cluster: Cluster, name: str | None, form: str | None) -> None:
    seen = await view.look(cluster)
    _check(seen, name)
    if form:
        objects = _objects(seen, name, utc_now())
        output.write(objects[0] if name else objects, form)
    else:
        output.show(_picture(seen, name, utc_now()))


async def watch_queues(cluster: Cluster, name: str | None, form: str | None) -> None:
    """Drawn again whenever something changes; a line for each change where that is no terminal."""
    _check(await view.look(cluster), name)
    if form or not output.console().is_terminal:
        await view.show_changes(cluster, _Lines(name, as_json=bool(form)), output.tell)
        return
    with Live(console=output.console(), auto_refresh=False) as live:

        def draw(seen: View) -> None:
            live.update(_picture(seen, name, utc_now()), refresh=True)

        await view.show_changes(cluster, draw, output.tell)


class _Lines:
    """Says each queue's figures when they are other than before."""

    def __init__(self, name: str | None, *, as_json: bool) -> None:
        self._name = name
        self._as_json = as_json
        self._said: dict[str, str] = {}

    def __call__(self, seen: View) -> None:
        if self._as_json:
            for each in _objects(seen, self._name, utc_now()):
                self._say(each["name"], json.dumps(each, ensure_ascii=False))
            return
        for queue in _chosen(seen, self._name):
            self._say(queue, tables.figures(seen.queues[queue]))

    def _say(self, queue: str, line: str) -> None:
        if self._said.get(queue) != line:
            self._said[queue] = line
            output.say(line)


def _chosen(seen: View, name: str | None) -> list[str]:
    return [each for each in sorted(seen.queues) if name in (None, each)]


def _check(seen: View, name: str | None) -> None:
    if name is not None and name not in seen.queues:
        there = ", ".join(sorted(seen.queues)) or "none"
        raise Problem(f"There is no ExecutionQueue {name}; there is {there}.", Exit.NOT_FOUND)


def _objects(seen: View, name: str | None, now: datetime) -> list[Raw]:
    return [
        tables.queue_object(seen.queues[each], lineup(seen, each, now))
        for each in _chosen(seen, name)
    ]


def _picture(seen: View, name: str | None, now: datetime) -> RenderableType:
    parts: list[RenderableType] = []
    for each in _chosen(seen, name):
        parts += [Text()] if parts else []
        parts.append(
            tables.queue(
                seen.queues[each],
                lineup(seen, each, now),
                now,
                longest=None if name else SHOWN,
            )
        )
    return Group(*parts)
