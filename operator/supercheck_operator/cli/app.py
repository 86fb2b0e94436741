"""The command line: what it takes, and what it ends with."""

from __future__ import annotations

import asyncio
import functools
import os
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click
from click.shell_completion import CompletionItem

from supercheck_operator import __version__
from supercheck_operator.cli import answers, changing, durations, logs, output, running, showing
from supercheck_operator.cli.cluster import Cluster, Place, connect
from supercheck_operator.cli.exits import Exit, Problem
from supercheck_operator.cli.manifests import Changes, changed, from_image, read
from supercheck_operator.kube import EXECUTIONS, QUEUES, KubeError, Resource
from supercheck_operator.resources import Phase, StopPolicy

PROGRAM: Final = "kubectl supercheck"
_COMPLETE_WITHIN: Final = 3.0
_SIGPIPE: Final = 141

Command = Callable[..., Any]
Action = Callable[[Cluster], Coroutine[Any, Any, Exit | None]]


def main() -> None:
    """The console script ``kubectl-supercheck``."""
    sys.exit(execute(sys.argv[1:]))


def execute(arguments: Sequence[str]) -> int:
    """The exit code; whatever is wrong has been said in one sentence."""
    try:
        return int(cli.main(list(arguments), prog_name=PROGRAM, standalone_mode=False) or 0)
    except click.exceptions.NoArgsIsHelpError as error:
        output.tell(error.format_message())
        return Exit.USAGE
    except click.UsageError as error:
        where = f"{error.ctx.command_path} --help" if error.ctx else f"{PROGRAM} --help"
        output.tell(f"Error: {error.format_message().rstrip('.')}. See {where}.")
        return Exit.USAGE
    except Problem as problem:
        output.tell(f"Error: {problem}")
        return problem.exit_code
    except KubeError as error:
        told = answers.problem(error)
        output.tell(f"Error: {told}")
        return told.exit_code
    except (click.Abort, KeyboardInterrupt):
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # Nobody reads on; Python would complain once more on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _SIGPIPE


def perform(place: Place, action: Action) -> Exit:
    async def connected() -> Exit | None:
        async with connect(place) as cluster:
            return await action(cluster)

    return asyncio.run(connected()) or Exit.PASSED


# What is typed --------------------------------------------------------------------------------


class Duration(click.ParamType[int]):
    name = "duration"

    def convert(
        self,
        value: object,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> int:
        try:
            return value if isinstance(value, int) else durations.parse(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Variable(click.ParamType[tuple[str, str]]):
    name = "name=value"

    def convert(
        self,
        value: object,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> tuple[str, str]:
        name, equals, said = str(value).partition("=")
        if not name or not equals:
            self.fail(f"{value!r} is no variable: write NAME=VALUE", param, ctx)
        return name, said


def names_of(
    resource: Resource,
) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    """Completes with what there is; with nothing, where that cannot be told at once."""

    def complete(
        ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        place = Place(**{key: ctx.params.get(key) for key in ("context", "namespace")})
        if file := ctx.params.get("kubeconfig"):
            place = Place(Path(file), place.context, place.namespace)

        async def ask() -> list[str]:
            async with asyncio.timeout(_COMPLETE_WITHIN), connect(place) as cluster:
                namespace = cluster.namespace if resource.namespaced else ""
                items, _ = await cluster.kube.list(resource, namespace=namespace)
                return [item["metadata"]["name"] for item in items]

        try:
            found = asyncio.run(ask())
        except (Problem, KubeError, TimeoutError):
            return []
        chosen = ctx.params.get(param.name or "") or ()
        return [
            CompletionItem(name)
            for name in found
            if name.startswith(incomplete) and name not in chosen
        ]

    return complete


def placed(command: Command) -> Command:
    """A command that takes where it is to work, and gets it as ``place``."""

    @click.pass_obj
    def wrapper(
        before: Place | None,
        /,
        kubeconfig: Path | None,
        context: str | None,
        namespace: str | None,
        **rest: object,
    ) -> object:
        said = before or Place()
        place = Place(
            kubeconfig or said.kubeconfig, context or said.context, namespace or said.namespace
        )
        return command(place=place, **rest)

    return _with_place(functools.update_wrapper(wrapper, command))


def _with_place(command: Command) -> Command:
    for option in reversed(PLACE):
        command = option(command)
    return command


PLACE: Final = (
    click.option("-n", "--namespace", help="Where the executions are; else the context's."),
    click.option("--context", help="A context of the kubeconfig; else the current one."),
    click.option(
        "--kubeconfig",
        type=click.Path(path_type=Path, dir_okay=False),
        help="A kubeconfig; else as kubectl has it: KUBECONFIG, ~/.kube/config, the pod's own.",
    ),
)

names = click.argument(
    "names", nargs=-1, required=True, metavar="NAME...", shell_complete=names_of(EXECUTIONS)
)
queue_name = click.argument("name", metavar="QUEUE", shell_complete=names_of(QUEUES))
forms = click.option(
    "-o", "--output", "form", type=click.Choice(output.FORMATS), help="Objects, or JUnit XML."
)
plain_forms = click.option(
    "-o", "--output", "form", type=click.Choice(("json", "yaml")), help="For programs."
)
a_queue = click.option(
    "-q", "--queue", metavar="QUEUE", shell_complete=names_of(QUEUES), help="The queue."
)


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 passed or done, 1 failed, 2 error, 3 cancelled, 4 refused for capacity;"
    " 64 and above say what else went wrong (docs/cli.md).",
)
@click.version_option(__version__, message="%(version)s")
@_with_place
@click.pass_context
def cli(
    ctx: click.Context, kubeconfig: Path | None, context: str | None, namespace: str | None
) -> None:
    """Submit test executions, wait for them, see why they wait, and steer their queues."""
    ctx.obj = Place(kubeconfig, context, namespace)


# Executions -----------------------------------------------------------------------------------


@cli.command(
    context_settings={"allow_interspersed_args": False},
    short_help="Submit executions, and wait for them.",
)
@click.option(
    "-f", "--filename", "files", multiple=True, metavar="FILE",
    help="A manifest with one TestExecution or many; - is the standard input. May be repeated.",
)  # fmt: skip
@click.option("--image", metavar="IMAGE", help="Instead of a file: run this image as one test.")
@click.option("--name", help="Its name; without one, --image makes one up.")
@click.option("-q", "--queue", metavar="QUEUE", shell_complete=names_of(QUEUES),
              help="The queue to wait in, whatever the file says.")  # fmt: skip
@click.option("--priority", type=click.IntRange(-(2**31), 2**31 - 1), metavar="NUMBER",
              help="Higher starts first.")  # fmt: skip
@click.option("--env", "-e", type=Variable(), multiple=True, metavar="NAME=VALUE",
              help="A variable for every test. May be repeated.")  # fmt: skip
@click.option("--timeout", type=Duration(), metavar="DURATION",
              help="How long it may run, once it has started (spec.timeoutSeconds).")  # fmt: skip
@click.option("-w", "--wait", "wait_", is_flag=True, help="Wait, and exit with the outcome.")
@click.option("--wait-timeout", type=Duration(), metavar="DURATION",
              help="Wait no longer than that, from now on; exits with 124.")  # fmt: skip
@click.option("--retry-for", type=Duration(), default=0, metavar="DURATION",
              help="While there is no room, or nobody answers, try again for so long.")  # fmt: skip
@click.option("--cancel-on-interrupt", is_flag=True,
              help="With --wait: Ctrl-C and SIGTERM cancel what was submitted.")  # fmt: skip
@forms
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[-- COMMAND [ARG]...]")
@placed
def run(
    place: Place,
    *,
    files: tuple[str, ...],
    image: str | None,
    command: tuple[str, ...],
    name: str | None,
    queue: str | None,
    priority: int | None,
    env: tuple[tuple[str, str], ...],
    timeout: int | None,
    wait_: bool,
    wait_timeout: int | None,
    retry_for: int,
    cancel_on_interrupt: bool,
    form: str | None,
) -> Exit:
    """Submit the executions of files, or one that runs an image.

    What the command line says goes over what a file says. COMMAND replaces the image's own.
    Without --wait it is done when they are stored; with it, when they are over, and the exit code
    is that of the worst: refused, Error, Failed, Cancelled, Passed.
    """
    if bool(files) == bool(image):
        raise click.UsageError("say what to run: either -f FILE or --image IMAGE")
    if command and files:
        raise click.UsageError("a command goes with --image; a file has its own")
    if form == "junit" and not wait_:
        raise click.UsageError("-o junit goes with --wait: before, there are no results")
    if (wait_timeout or cancel_on_interrupt) and not wait_:
        raise click.UsageError("--wait-timeout and --cancel-on-interrupt go with --wait")
    changes = Changes(name, queue, priority, timeout, _variables(env))
    bodies = [from_image(image, command, changes)] if image else read(files)
    if name and len(bodies) > 1:
        raise click.UsageError("--name is for one execution; the files have several")
    bodies = [changed(body, changes) for body in bodies]
    patience = running.Patience(wait_, wait_timeout, retry_for, cancel_on_interrupt)
    return perform(place, lambda cluster: running.run(cluster, bodies, patience, form))


def _variables(pairs: tuple[tuple[str, str], ...]) -> Mapping[str, str] | None:
    return dict(pairs) or None


@cli.command(short_help="Wait until executions are over.")
@names
@click.option("--timeout", type=Duration(), metavar="DURATION",
              help="Wait no longer than that; exits with 124.")  # fmt: skip
@forms
@placed
def wait(place: Place, *, names: tuple[str, ...], timeout: int | None, form: str | None) -> Exit:
    """Wait until executions are over, and exit with the outcome of the worst."""
    return perform(place, lambda cluster: running.wait(cluster, names, timeout, form))


@cli.command(short_help="Show executions, and why they wait.")
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=names_of(EXECUTIONS))
@click.option("-A", "--all-namespaces", "everywhere", is_flag=True, help="Of every namespace.")
@a_queue
@click.option("--phase", type=click.Choice([phase.value for phase in Phase]), help="The phase.")
@click.option("-o", "--output", "form", type=click.Choice((*output.FORMATS, "table")),
              default="table", help="A table, objects, or JUnit XML.")  # fmt: skip
@placed
def get(
    place: Place,
    *,
    names: tuple[str, ...],
    everywhere: bool,
    queue: str | None,
    phase: str | None,
    form: str,
) -> Exit:
    """Show executions: phase, reason, position in the line, estimated start.

    With one NAME, everything about it and its tests. In JSON and YAML the reason and message of
    what waits are filled in; the operator does not write them.
    """
    if names and everywhere:
        raise click.UsageError("names are of one namespace: leave -A or the names away")
    return perform(
        place,
        lambda cluster: showing.get(
            cluster,
            names,
            everywhere=everywhere,
            queue=queue,
            phase=phase,
            form=None if form == "table" else form,
        ),
    )


@cli.command(name="logs", short_help="Print what the tests print.")
@click.argument("name", shell_complete=names_of(EXECUTIONS))
@click.option("-f", "--follow", is_flag=True, help="Go on until the execution is over.")
@click.option("--test", "tests", multiple=True, metavar="TEST", help="Only this one. May be"
              " repeated.")  # fmt: skip
@click.option("--attempt", type=click.IntRange(1), metavar="NUMBER", help="Only of this attempt.")
@click.option("--tail", type=click.IntRange(0), metavar="LINES", help="Only the last ones of each.")
@click.option("--timestamps", is_flag=True, help="When each line was written.")
@placed
def logs_command(
    place: Place,
    *,
    name: str,
    follow: bool,
    tests: tuple[str, ...],
    attempt: int | None,
    tail: int | None,
    timestamps: bool,
) -> Exit:
    """Print what the tests of an execution print: of every pod, also of earlier attempts.

    Lines say which test they are of, where there are several.
    """
    wish = logs.Wish(tests, attempt, tail, timestamps)
    action = logs.follow if follow else logs.show
    return perform(place, lambda cluster: action(cluster, name, wish, output.tell))


@cli.command(short_help="Stop executions for good.")
@names
@placed
def cancel(place: Place, *, names: tuple[str, ...]) -> Exit:
    """Stop executions, whether they wait or run. It cannot be taken back."""
    return perform(place, lambda cluster: changing.cancel(cluster, names))


@cli.command(short_help="Keep executions from starting.")
@names
@placed
def suspend(place: Place, *, names: tuple[str, ...]) -> Exit:
    """Keep executions that wait from starting. They keep their place in the line."""
    return perform(place, lambda cluster: changing.suspend(cluster, names))


@cli.command(short_help="Let executions or queues go on.")
@click.argument(
    "names", nargs=-1, required=True, metavar="NAME...", shell_complete=names_of(EXECUTIONS)
)
@placed
def resume(place: Place, *, names: tuple[str, ...]) -> Exit:
    """Let suspended executions take their turn again, and stopped queues start again.

    NAME is looked for among both; execution/NAME and queue/NAME say which is meant.
    """
    return perform(place, lambda cluster: changing.resume(cluster, names))


# Queues ---------------------------------------------------------------------------------------


@cli.command(name="queue", short_help="Show queues and their lines.")
@click.argument("name", required=False, metavar="[QUEUE]", shell_complete=names_of(QUEUES))
@click.option("-w", "--watch", is_flag=True, help="Go on, and show every change.")
@plain_forms
@placed
def queue_command(place: Place, *, name: str | None, watch: bool, form: str | None) -> Exit:
    """Show how many run and wait, who runs, and the line: positions, reasons, estimated starts.

    With QUEUE its whole line, without it every queue and the first ten of its line.
    """
    if watch and form == "yaml":
        raise click.UsageError("--watch writes a line for each change: as text, or by -o json")
    action = showing.watch_queues if watch else showing.queues
    return perform(place, lambda cluster: action(cluster, name, form))


@cli.command(short_help="Start nothing new in a queue.")
@queue_name
@placed
def hold(place: Place, *, name: str) -> Exit:
    """Start nothing new in a queue. What runs goes on, and submissions still wait in its line."""
    return _set_policy(place, name, StopPolicy.HOLD)


@cli.command(short_help="Cancel all that waits and runs in a queue.")
@queue_name
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@placed
def drain(place: Place, *, name: str, yes: bool) -> Exit:
    """Cancel all that waits and runs in a queue, and start nothing new in it."""

    async def action(cluster: Cluster) -> None:
        if not yes:
            runs, waits = await changing.count(cluster, name)
            _confirm(f"Cancel {runs} running and {waits} waiting executions of queue {name}?")
        await changing.set_policy(cluster, name, StopPolicy.HOLD_AND_DRAIN)

    return perform(place, action)


def _confirm(question: str) -> None:
    if not sys.stdin.isatty():
        raise click.UsageError("there is nobody to ask: say --yes")
    if not click.confirm(question, err=True):
        raise click.Abort


@cli.command(short_help="Admit nothing more to a queue.")
@queue_name
@placed
def close(place: Place, *, name: str) -> Exit:
    """Admit nothing more to a queue. What waits and runs in it finishes."""
    return _set_policy(place, name, StopPolicy.CLOSED)


@cli.command(name="open", short_help="Let a queue work again.")
@queue_name
@placed
def open_queue(place: Place, *, name: str) -> Exit:
    """Let a queue work again after hold, drain or close."""
    return _set_policy(place, name, StopPolicy.NONE)


def _set_policy(place: Place, name: str, policy: StopPolicy) -> Exit:
    return perform(place, lambda cluster: changing.set_policy(cluster, name, policy))


# Shells ---------------------------------------------------------------------------------------


@cli.command(short_help="Print what makes a shell complete this command.")
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
def completion(shell: str) -> None:
    """Print a script that makes SHELL complete kubectl-supercheck.

    To complete "kubectl supercheck" nothing is needed but kubectl's own completion: it asks
    kubectl_complete-supercheck, which is installed beside this.
    """
    from supercheck_operator.cli.completion import script  # noqa: PLC0415 - it needs ``cli``

    output.say(script(shell))
