"""Real test containers, five at a time, watched until each has its verdict.

Exit code 0: every execution ended as its example expects; 1: not so, or the demo could not go on;
130: stopped by Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT))  # after the standard library: this folder has an operator/ too

from e2e.demo import cluster, examples, operator_process, route, view  # noqa: E402
from e2e.demo.board import Board  # noqa: E402
from e2e.demo.cluster import Cluster  # noqa: E402
from e2e.demo.examples import NAMESPACE, Api  # noqa: E402
from e2e.demo.operator_process import Operator  # noqa: E402
from e2e.demo.processes import DemoError, stop  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.live import Live  # noqa: E402

_EXAMPLES: Final = ROOT / "examples" / "demo"
_IMAGE_CONTEXT: Final = ROOT / "e2e" / "images" / "pytest"
_LOGS: Final = ROOT / "logs" / "demo"
_STOPPED: Final = 130
_ALL_WITHIN: Final = 600.0
"""Seconds for all executions; the examples need about half a minute."""
_TICK: Final = 0.5
_SHOWN_METRIC: Final = "supercheck_admissions_total"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--keep", action="store_true", help="leave the cluster at the end, for a closer look"
    )
    parser.add_argument(
        "--no-live", action="store_true", help="plain lines instead of the live view"
    )
    arguments = parser.parse_args(argv)
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 120
    live = console.is_terminal and not arguments.no_live
    demo = Demo(console, keep=arguments.keep, live=live)
    try:
        return asyncio.run(_until_stopped(demo))
    except DemoError as error:
        console.print(f"demo: {error}", style="red")
        return 1


async def _until_stopped(demo: Demo) -> int:
    """Run ``demo``; a signal cancels it once, and what it takes down is not disturbed again."""
    task = asyncio.ensure_future(demo.run())
    stopped = False

    def on_signal() -> None:
        nonlocal stopped
        if not stopped:
            stopped = True
            demo.stopped()
            task.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, on_signal)
    try:
        return await task
    except asyncio.CancelledError:
        return _STOPPED


class Demo:
    """From nothing to the verdicts and back to nothing."""

    def __init__(self, console: Console, *, keep: bool, live: bool) -> None:
        self._console = console
        self._keep = keep
        self._live = live
        self._interrupted = False

    def stopped(self) -> None:
        """A signal has come: from now on everything is taken down."""
        self._interrupted = True
        self._console.print("stopping; what was started is taken down (about 5 s) …")

    async def run(self) -> int:
        """The exit code. Raises DemoError."""
        _LOGS.mkdir(parents=True, exist_ok=True)
        async with AsyncExitStack() as stack:
            where = await stack.enter_async_context(self._cluster())
            operator = await stack.enter_async_context(self._operator(where))
            api = await Api.connect(where.kubeconfig)
            stack.push_async_callback(api.close)
            await api.clear()
            kubectl = await cluster.kubectl()
            self._say_how_to_look(where, kubectl, operator)
            board = await self._submit_and_watch(api, operator)
            await self._sum_up(board, operator)
            if self._keep:
                self._say_how_to_look(where, kubectl, operator)
        return 0 if board.as_expected else 1

    @asynccontextmanager
    async def _cluster(self) -> AsyncIterator[Cluster]:
        where = await cluster.find(_LOGS / "kubeconfig")
        if where.existed:
            self._step("1/4", f"the cluster {cluster.NAME} is there already")
        elif where.docker:
            self._step("1/4", "a cluster by kind: about 1 min; the first time about 2 min")
        else:
            self._step(
                "1/4",
                "a cluster with a real node: about 10 s; the first time, Kubernetes is built"
                " before, about 6 min",
            )
        try:
            await cluster.bring_up(where, keep=self._keep)
            self._step(
                "2/4",
                "the image of the tests, from e2e/images/pytest: about 5 s; the first time about"
                " 2 min",
            )
            await cluster.load_image(where, _IMAGE_CONTEXT, _LOGS / "image.log")
            yield where
        finally:
            if self._keep and (where.existed or not self._interrupted):
                self._plain("the cluster stays until you delete it:")
                self._plain(f"  {where.kind} delete cluster --name {cluster.NAME}")
            else:
                await cluster.delete(where)

    @asynccontextmanager
    async def _operator(self, where: Cluster) -> AsyncIterator[Operator]:
        log = _LOGS / "operator.log"
        self._step("3/4", f"the operator: about 3 s; its log is {log}")
        operator = await operator_process.start(where.kubeconfig, log)
        try:
            async with route.to_webhook(where, operator.webhook_port):
                yield operator
        finally:
            await stop(operator.process)
            if self._keep and not self._interrupted:
                self._plain("the operator is stopped; to start it again:")
                self._plain(f"  {' '.join(operator.command)}")

    async def _submit_and_watch(self, api: Api, operator: Operator) -> Board:
        manifests = examples.read(_EXAMPLES)
        count = sum(manifest["kind"] == "TestExecution" for manifest in manifests)
        self._step("4/4", f"{count} executions for 5 slots: about 30 s until all have a verdict")
        board, changed = Board(), asyncio.Event()
        tasks = [
            asyncio.ensure_future(work)
            for work in (
                api.watch_queues(board, changed.set),
                api.watch_executions(board, changed.set),
                api.submit(manifests, board),
                operator.ended(),
            )
        ]
        try:
            async with asyncio.timeout(_ALL_WITHIN):
                with self._screen() as show:
                    while not board.done:
                        await _next_change(changed)
                        _raise_first(tasks)
                        show(board)
        except TimeoutError as error:
            late = [each.name for each in board.executions.values() if not each.final]
            told = f"without a verdict: {', '.join(late)}" if late else "slots are still taken"
            raise DemoError(f"Not done after {_ALL_WITHIN:g} s; {told}.") from error
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return board

    @contextmanager
    def _screen(self) -> Iterator[Callable[[Board], None]]:
        """What shows the board: a live picture, or a line for each piece of news."""
        if not self._live:
            ticker = view.Ticker()

            def tell(board: Board) -> None:
                for line in ticker.news(board, datetime.now(UTC)):
                    self._plain(line)

            yield tell
            return
        with Live(console=self._console, auto_refresh=False, transient=True) as picture:

            def draw(board: Board) -> None:
                height = self._console.height
                picture.update(view.live(board, datetime.now(UTC), height), refresh=True)

            yield draw

    async def _sum_up(self, board: Board, operator: Operator) -> None:
        self._console.print(view.summary(board, datetime.now(UTC)))
        stats = await operator.get("/api/queue-stats")
        self._plain(f"GET /api/queue-stats  {stats}")
        for line in (await operator.get("/metrics")).splitlines():
            if line.startswith(_SHOWN_METRIC):
                self._plain(f"GET /metrics          {line}")
        if board.as_expected:
            self._console.print("Every execution ended as its example expects.", style="green")
        else:
            self._console.print("Not every execution ended as its example expects.", style="red")
        if not self._keep:
            self._plain("To keep the cluster: .venv/bin/python e2e/demo/demo.py --keep")

    def _say_how_to_look(self, where: Cluster, kubectl: str, operator: Operator) -> None:
        self._console.print("look further, from another terminal:", style="dim")
        for command in (
            f"export KUBECONFIG={where.kubeconfig}",
            f"{kubectl} get executionqueues",
            f"{kubectl} -n {NAMESPACE} get testexecutions,jobs,pods",
            f"{kubectl} -n {NAMESPACE} get testexecution nightly -o yaml",
            f"curl {operator.url}/api/queue-stats",
            f"curl {operator.url}/metrics",
        ):
            self._plain(f"  {command}")

    def _step(self, number: str, what: str) -> None:
        self._console.print(f"[bold]{number}[/bold] {what} …", soft_wrap=True)

    def _plain(self, line: str) -> None:
        self._console.print(line, markup=False, soft_wrap=True)


async def _next_change(changed: asyncio.Event) -> None:
    """Wait for news; or, for the elapsed times on the screen, until the next tick."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_TICK):
            await changed.wait()
    changed.clear()


def _raise_first(tasks: Sequence[asyncio.Future[None]]) -> None:
    for task in tasks:
        if task.done():
            task.result()


if __name__ == "__main__":
    sys.exit(main())
