"""Container images: built from the Containerfile that a user builds, and loaded into the node."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from kindless import engine, node, packages, paths
from kindless.errors import Problem
from kindless.record import Cluster
from kindless.say import say

BASE = "localhost/python:slim"  # a stand-in for docker.io/library/python:*-slim, made here
BASE_PACKAGES = ("ca-certificates", "python3", "python3-pip", "python3-venv")
LABEL = "kindless.image-id"  # on a loaded image: which build it is
CA_VARIABLES = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
PIP_VARIABLES = {
    "PIP_INDEX_URL": "index-url",
    "PIP_EXTRA_INDEX_URL": "extra-index-url",
    "PIP_TRUSTED_HOST": "trusted-host",
}
# Where Debian's pip and newer ones of its own look, and where every base image with certificates
# has them, so that mounting there leaves no trace.
CA_INSIDE = "/etc/ssl/certs/ca-certificates.crt"


def build(tag: str, context: Path, arguments: Mapping[str, str], file: Path | None = None) -> None:
    """Build an image by docker where it is, else by buildah."""
    if not context.is_dir():
        raise Problem(f"{context} is no folder: name the one to build from.")
    containerfile = file or _containerfile(context)
    given = [f"--build-arg={name}={value}" for name, value in arguments.items()]
    if engine.docker():
        _shown("docker", "build", "--tag", tag, "--file", str(containerfile), *given, str(context))
        return
    packages.ensure(("buildah",), "building images")
    if arguments.get("BASE") == BASE:
        _ensure_base()
    with _build_only_settings(os.environ) as settings:
        _shown(
            *("buildah", "bud", "--isolation", "chroot", "--network", "host", "--layers"),
            *("--tag", tag, "--file", str(containerfile), *given, *settings, str(context)),
        )


def load(cluster: Cluster, references: list[str]) -> None:
    """Give images to the cluster's node, unless it has them as built last."""
    if not cluster.real_node:
        raise Problem(f"Cluster '{cluster.name}' has no real node that could run an image.")
    for reference in references:
        # Short names are buildah's localhost/NAME, and a pod's docker.io/library/NAME.
        identity = _identity(reference)
        target = normalised(reference)
        if identity in node.ctr(cluster, "images", "list", f"name=={target}"):
            say(f"image {target} is on the node already")
            continue
        say(f"loading image {target} (about 10 s) …")
        with tempfile.TemporaryDirectory(dir=paths.cache()) as folder:
            archive = Path(folder) / "image.tar"
            _export(reference, target, archive)
            node.ctr(cluster, "images", "import", str(archive))
        node.ctr(cluster, "images", "label", target, f"{LABEL}={identity}")


def normalised(reference: str) -> str:
    """An image's full name, as Kubernetes completes what a pod says."""
    name = reference
    first, slash, _ = name.partition("/")
    if not slash:
        name = f"docker.io/library/{name}"
    elif not ("." in first or ":" in first or first == "localhost"):
        name = f"docker.io/{name}"
    tagged = ":" in name.rpartition("/")[2] or "@" in name
    return name if tagged else f"{name}:latest"


def pip_settings(variables: Mapping[str, str]) -> str:
    """A pip.conf that says what these variables say; empty if they say nothing."""
    lines = [
        f"{key} = {variables[name]}" for name, key in PIP_VARIABLES.items() if name in variables
    ]
    return "\n".join(["[global]", *lines, ""]) if lines else ""


def ca_bundle(variables: Mapping[str, str]) -> str | None:
    """The file of certificates that this machine's programs are told to trust, if any."""
    return next((variables[name] for name in CA_VARIABLES if variables.get(name)), None)


@contextmanager
def _build_only_settings(variables: Mapping[str, str]) -> Iterator[list[str]]:
    """Options that let a build reach what this machine reaches, and leave nothing in the image.

    Proxies need none: buildah passes those to a build by itself, and keeps them out of it.
    """
    with tempfile.TemporaryDirectory() as folder:
        options = []
        if settings := pip_settings(variables):
            file = Path(folder) / "pip.conf"
            file.write_text(settings)
            options.append(f"--volume={file}:/etc/pip.conf:ro")
        if bundle := ca_bundle(variables):
            options.append(f"--volume={bundle}:{CA_INSIDE}:ro")
        yield options


def _containerfile(context: Path) -> Path:
    for name in ("Containerfile", "Dockerfile"):
        if (context / name).is_file():
            return context / name
    raise Problem(f"{context} has no Containerfile: name one with --file.")


def _ensure_base() -> None:
    with paths.locked("base-image", "waiting for the base image to be made …"):
        if _found(BASE):
            return
        packages.ensure(("mmdebstrap",), f"the base image {BASE}")
        say(f"making the base image {BASE} from Debian packages (once, about 60 s) …")
        with tempfile.TemporaryDirectory(dir=paths.cache()) as folder:
            tree = Path(folder) / "root.tar"
            _quiet(
                *("mmdebstrap", "--variant=minbase", f"--include={','.join(BASE_PACKAGES)}"),
                *("--dpkgopt=path-exclude=/usr/share/doc/*", _release(), str(tree)),
            )
            container = _quiet("buildah", "from", "scratch").strip()
            try:
                _quiet("buildah", "add", container, str(tree), "/")
                _quiet("buildah", "config", "--cmd", "python3", container)
                _quiet("buildah", "commit", container, BASE)
            finally:
                _quiet("buildah", "rm", container)


def _release() -> str:
    """This machine's Debian release, which its package lists are for."""
    found = re.search(r"^VERSION_CODENAME=(\w+)", Path("/etc/os-release").read_text(), re.M)
    return found[1] if found else "stable"


def _found(reference: str) -> bool:
    asked = subprocess.run(["buildah", "inspect", "--type=image", reference], capture_output=True)
    return asked.returncode == 0


def _identity(reference: str) -> str:
    """The id of an image, which tells one build from another."""
    program, form = ("docker", "{{.Id}}") if engine.docker() else ("buildah", "{{.FromImageID}}")
    if program == "buildah":
        packages.ensure(("buildah",), "loading images")
    try:
        found = _quiet(program, "inspect", "--type=image", f"--format={form}", reference)
    except Problem as problem:
        raise Problem(
            f"There is no image {reference}: build it with `kindless build image -t {reference}`."
        ) from problem
    return found.strip()


def _export(reference: str, target: str, archive: Path) -> None:
    """Write an image to a docker archive, named there as pods name it."""
    if engine.docker():
        _quiet("docker", "tag", reference, target)
        _quiet("docker", "save", f"--output={archive}", target)
    else:
        _quiet("buildah", "push", reference, f"docker-archive:{archive}:{target}")


def _shown(*command: str) -> None:
    """Run a command whose output is of interest, on stderr like all that is said."""
    if subprocess.run(command, stdout=2, stdin=subprocess.DEVNULL).returncode:
        raise Problem(f"{command[0]} could not build the image: it says why above.")


def _quiet(*command: str) -> str:
    program = shutil.which(command[0])
    if program is None:
        raise Problem(f"{command[0]} is not on PATH: install it.")
    ran = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if ran.returncode:
        raise Problem(f"`{' '.join(command[:4])}` failed: {ran.stderr.strip()[-800:]}")
    return ran.stdout
