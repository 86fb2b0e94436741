"""The command: kind's contract, and what is ours."""

import argparse
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from kindless import (
    __version__,
    binaries,
    components,
    engine,
    images,
    kubeconfig,
    lifecycle,
    record,
)
from kindless.errors import Interrupted, Problem
from kindless.say import say


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    run: Callable[[argparse.Namespace], None] = arguments.run
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {signum: signal.signal(signum, _interrupt) for signum in signals}
    try:
        run(arguments)
    except Problem as problem:
        say(f"ERROR: {problem}")
        return 1
    except Interrupted as interrupted:
        say("stopped; what was started is taken down")
        return 128 + interrupted.signum
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
    return 0


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise Interrupted(signum)


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser("kindless", description=__doc__)
    verbs = top.add_subparsers(required=True, metavar="COMMAND")

    create = verbs.add_parser("create", help="create a cluster").add_subparsers(required=True)
    cluster = _named(create.add_parser("cluster", help="create a cluster"))
    cluster.add_argument("--kubeconfig", type=Path, help="the file that gets the cluster's entry")
    cluster.add_argument("--image", help="accepted as kind has it, and not used")
    cluster.add_argument("--config", type=Path, help="accepted as kind has it, and not used")
    cluster.add_argument("--wait", nargs="?", help="accepted as kind has it: it always waits")
    cluster.add_argument(
        "--no-node",
        action="store_true",
        help="no real node, only fake ones, whose pods kwok plays: needs no root",
    )
    cluster.add_argument(
        "--fake-nodes", type=int, metavar="N", help="how many (1 with --no-node, else 0)"
    )
    cluster.add_argument(
        "--audit", action="store_true", help="have the API server log each request"
    )
    cluster.add_argument(
        "--json-storage",
        action="store_true",
        help="have the API server store JSON, so that etcd can be read by anyone",
    )
    cluster.add_argument(
        "--admission-config",
        type=Path,
        metavar="FILE",
        help="the API server's AdmissionConfiguration",
    )
    cluster.add_argument(
        "--owner-pid", type=int, metavar="PID", help="delete the cluster when this process dies"
    )
    cluster.set_defaults(run=_create)

    delete = verbs.add_parser("delete", help="delete a cluster").add_subparsers(required=True)
    cluster = _named(delete.add_parser("cluster", help="delete a cluster, or what is left of it"))
    cluster.add_argument("--kubeconfig", type=Path, help="the file that has the cluster's entry")
    cluster.set_defaults(run=_delete)

    get = verbs.add_parser("get", help="show something").add_subparsers(required=True)
    get.add_parser("clusters", help="the clusters, one a line").set_defaults(run=_get_clusters)
    config = _named(get.add_parser("kubeconfig", help="a cluster's kubeconfig"))
    config.set_defaults(run=_get_kubeconfig)
    get.add_parser("kubectl", help="the path of kubectl").set_defaults(run=_get_kubectl)

    export = verbs.add_parser("export", help="export logs").add_subparsers(required=True)
    logs = _named(export.add_parser("logs", help="copy a cluster's logs to a folder"))
    logs.add_argument("folder", nargs="?", type=Path, default=Path("kindless-logs"))
    logs.set_defaults(run=_export_logs)

    for verb, function, what in (
        ("kill", _kill, "end a component by SIGKILL"),
        ("start", _start, "start a component again"),
    ):
        component = _named(verbs.add_parser(verb, help=what))
        component.add_argument("component", choices=[*components.CONTROL_PLANE, *components.NODE])
        component.set_defaults(run=function)

    load = verbs.add_parser("load", help="load images").add_subparsers(required=True)
    image = _named(load.add_parser("docker-image", help="give images to a cluster's node"))
    image.add_argument("images", nargs="+", metavar="IMAGE")
    image.set_defaults(run=_load)

    build = verbs.add_parser("build", help="build the binaries, or an image")
    build.set_defaults(run=_build)
    image = build.add_subparsers().add_parser("image", help="build an image")
    image.add_argument("-t", "--tag", required=True)
    image.add_argument("-f", "--file", type=Path, help="(Containerfile of the context)")
    image.add_argument(
        "--build-arg",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help=f"BASE={images.BASE} makes that base image if it is not there",
    )
    image.add_argument("context", type=Path)
    image.set_defaults(run=_build_image)

    which = verbs.add_parser(
        "which",
        help="the path of the kind to use (real kind where Docker is, else this), or of"
        " a program, which is built if it is missing",
    )
    which.add_argument("program", nargs="?", choices=sorted(binaries.BINARIES), metavar="PROGRAM")
    which.set_defaults(run=_which)

    verbs.add_parser("version", help="show the version").set_defaults(run=_version)
    return top


def _named(sub: argparse.ArgumentParser) -> argparse.ArgumentParser:
    sub.add_argument("--name", default="kind", help="the cluster's name (kind)")
    return sub


def _create(arguments: argparse.Namespace) -> None:
    fake = arguments.fake_nodes
    lifecycle.create(
        lifecycle.Wish(
            name=arguments.name,
            kubeconfig=arguments.kubeconfig or kubeconfig.default_file(),
            real_node=not arguments.no_node,
            fake_nodes=int(arguments.no_node) if fake is None else fake,
            audit=arguments.audit,
            json_storage=arguments.json_storage,
            admission_config=arguments.admission_config,
            owner=arguments.owner_pid or lifecycle.owner_from_environment(),
        )
    )


def _delete(arguments: argparse.Namespace) -> None:
    there = lifecycle.delete(arguments.name, arguments.kubeconfig)
    say(f"cluster '{arguments.name}' {'is deleted' if there else 'was not there'}")


def _get_clusters(arguments: argparse.Namespace) -> None:
    names = lifecycle.listed()
    for name in names:
        print(name)
    if not names:
        say("No kind clusters found.")


def _get_kubeconfig(arguments: argparse.Namespace) -> None:
    file = record.existing(arguments.name).own_kubeconfig
    if not file.exists():
        raise Problem(f"Cluster '{arguments.name}' is not ready yet: wait or create it again.")
    print(file.read_text(), end="")


def _get_kubectl(arguments: argparse.Namespace) -> None:
    print(binaries.path("kubectl"))


def _export_logs(arguments: argparse.Namespace) -> None:
    source = record.existing(arguments.name).folder / "logs"
    shutil.copytree(source, arguments.folder, dirs_exist_ok=True)
    say(f"exported the logs of cluster '{arguments.name}' to:")
    print(arguments.folder)


def _kill(arguments: argparse.Namespace) -> None:
    components.kill(arguments.name, arguments.component)


def _start(arguments: argparse.Namespace) -> None:
    components.start(arguments.name, arguments.component)


def _build(arguments: argparse.Namespace) -> None:
    binaries.build(binaries.BINARIES)
    say("all binaries are built")


def _build_image(arguments: argparse.Namespace) -> None:
    pairs = [given.partition("=") for given in arguments.build_arg]
    for name, equals, _ in pairs:
        if not equals:
            raise Problem(f"--build-arg {name} has no value: write NAME=VALUE.")
    values = {name: value for name, _, value in pairs}
    images.build(arguments.tag, arguments.context, values, arguments.file)


def _load(arguments: argparse.Namespace) -> None:
    images.load(record.existing(arguments.name), arguments.images)


def _which(arguments: argparse.Namespace) -> None:
    program: str | None = arguments.program
    print(engine.kind_binary() if program is None else binaries.path(program))


def _version(arguments: argparse.Namespace) -> None:
    kubernetes = binaries.KUBERNETES.version()
    print(f"kindless v{__version__} {kubernetes}", file=sys.stdout)
