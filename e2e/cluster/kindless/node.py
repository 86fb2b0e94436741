"""One real node on this machine: containerd, kubelet and kube-proxy, on a bridge of its own.

All that it writes lies in the cluster's folder, but for the images: containerd keeps those in the
cache, so that the next cluster has them. What it changes of the system, `remove` changes back.
"""

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
import time
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from kindless import binaries, components, dns, kubeconfig, names, packages, paths, processes
from kindless.controlplane import kubectl_run
from kindless.errors import Problem
from kindless.processes import Command
from kindless.record import Cluster

BRIDGE = "kindless0"
ADDRESS = "10.244.0.1"  # the node's, the API server's for pods, and the pods' gateway
PODS = "10.244.0.0/24"
PAUSE = "localhost/kindless/pause:1"
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
CONTAINERS = "k8s.io"  # containerd's namespace for what kubelet runs


def name(cluster: Cluster) -> str:
    """The node's name, as kind has it."""
    return f"{cluster.name}-control-plane"


def folder(cluster: Cluster) -> Path:
    return cluster.folder / "node"


def socket(cluster: Cluster) -> Path:
    return folder(cluster) / "containerd.sock"


def images_folder() -> Path:
    return paths.cache() / "containerd"


def prepare(cluster: Cluster) -> None:
    """What must be there before the control plane: packages, and the address it advertises."""
    if os.geteuid() != 0:
        raise Problem("A real node needs root: run this as root, or create with --no-node.")
    packages.ensure(packages.NODE, "a real node")
    pause_archive()
    folder(cluster).mkdir()
    cluster.restore[str(FORWARDING)] = FORWARDING.read_text()
    cluster.save()
    FORWARDING.write_text("1")
    _system("ip", "link", "add", BRIDGE, "type", "bridge")
    _system("ip", "address", "add", f"{ADDRESS}/24", "dev", BRIDGE)
    _system("ip", "link", "set", BRIDGE, "up")
    # Pods reach what is outside by the machine's own address.
    _system("nft", "-f", "-", stdin=MASQUERADE)


MASQUERADE = f"""
table ip kindless {{
  chain postrouting {{
    type nat hook postrouting priority srcnat
    ip saddr {PODS} ip daddr != {PODS} oifname != "{BRIDGE}" masquerade
  }}
}}
"""


def start(cluster: Cluster) -> None:
    """Start the node, and wait until a pod can run on it and finds Services by their names."""
    dns.start(cluster, ADDRESS)
    _start_containerd(cluster)
    ctr(cluster, "images", "import", str(pause_archive()))
    _write_kubelet(cluster)
    _write_proxy(cluster)
    for command in (_kubelet(cluster), _proxy(cluster)):
        command.save(cluster.folder)
        processes.spawn(cluster.folder, command)
    try:
        node = f"node/{name(cluster)}"
        kubectl_run(cluster, "wait", "--for=create", node, "--timeout=60s")
        kubectl_run(cluster, "wait", "--for=condition=Ready", node, "--timeout=60s")
    except Problem as problem:
        last = (cluster.folder / "logs" / "kubelet.log").read_text()[-1500:]
        raise Problem(f"The node did not become Ready; its kubelet says: {last}") from problem
    components.wait_ready(cluster.name, "coredns")


def stop(cluster: Cluster) -> None:
    """End containers by containerd while it runs, so that it forgets them; best effort."""
    for component in ("kubelet", "kube-proxy"):
        if (number := components.pid(cluster.name, component)) is not None:
            processes.end([number])
    if components.pid(cluster.name, "containerd") is not None:
        with contextlib.suppress(Problem):
            _forget_containers(cluster)


def remove(cluster: Cluster) -> None:
    """Undo all that a node did to the system; its processes are gone by now."""
    sockets = folder(cluster).glob("containerd/io.containerd.runtime.v2.task/*/*/address")
    for address in [file.read_text() for file in sockets]:
        Path(address.removeprefix("unix://")).unlink(missing_ok=True)
    for below in (cluster.folder, images_folder()):
        for mount in reversed(mounts_below(below, Path("/proc/self/mountinfo").read_text())):
            _system("umount", "--lazy", mount)
    shutil.rmtree(images_folder() / "io.containerd.grpc.v1.cri", ignore_errors=True)
    if Path("/sys/class/net", BRIDGE).exists():
        _system("ip", "link", "delete", BRIDGE)
    if shutil.which("nft"):
        for family, table in (("ip", "kindless"), ("ip", "kube-proxy"), ("ip6", "kube-proxy")):
            # Adding it first makes deleting it right in any case.
            _system("nft", f"add table {family} {table}; delete table {family} {table}")
    for result in Path("/var/lib/cni/results").glob("*"):
        if f"{folder(cluster)}/" in result.read_text():
            result.unlink()
    _remove_log_links(folder(cluster))
    _remove_cgroups()
    for file, before in cluster.restore.items():
        Path(file).write_text(before)


def ctr(cluster: Cluster, *arguments: str, seconds: float = 300) -> str:
    """Ask containerd something."""
    return _system(
        *("ctr", "--address", str(socket(cluster)), "--namespace", CONTAINERS, *arguments),
        seconds=seconds,
    )


def mounts_below(below: Path, mountinfo: str) -> list[str]:
    """The mount points in a folder, in the order they were mounted."""
    points = (_unescaped(line.split()[4]) for line in mountinfo.splitlines())
    return [point for point in points if point.startswith(f"{below}/")]


def _unescaped(point: str) -> str:
    """The kernel writes blanks and backslashes of a path as octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), point)


def _start_containerd(cluster: Cluster) -> None:
    config = folder(cluster) / "containerd.toml"
    config.write_text(containerd_config(cluster))
    network = folder(cluster) / "cni" / "10-kindless.conflist"
    network.parent.mkdir()
    network.write_text(json.dumps(network_config(cluster), indent=2))
    command = Command("containerd", ["containerd", "--config", str(config)])
    command.save(cluster.folder)
    processes.spawn(cluster.folder, command)
    _wait_for_containerd(cluster)
    if _forget_containers(cluster):
        # Its CRI part has read at its start what a killed cluster left, so it starts again.
        components.kill(cluster.name, "containerd")
        shutil.rmtree(images_folder() / "io.containerd.grpc.v1.cri", ignore_errors=True)
        processes.spawn(cluster.folder, command)
        _wait_for_containerd(cluster)


def _wait_for_containerd(cluster: Cluster, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            ctr(cluster, "version", seconds=5)
            return
        except Problem:
            if time.monotonic() > deadline:
                log = cluster.folder / "logs" / "containerd.log"
                raise Problem(
                    f"containerd does not answer; it says: {log.read_text()[-1000:]}"
                ) from None
            time.sleep(0.05)  # there is nothing to wait on but the answer itself


def _forget_containers(cluster: Cluster) -> bool:
    """Remove all containers and what they wrote; True if there were any."""
    if tasks := ctr(cluster, "tasks", "list", "--quiet", seconds=10).split():
        ctr(cluster, "tasks", "delete", "--force", *tasks, seconds=30)
    if containers := ctr(cluster, "containers", "list", "--quiet", seconds=10).split():
        ctr(cluster, "containers", "delete", *containers, seconds=30)
        return True
    return False


def containerd_config(cluster: Cluster) -> str:
    here = folder(cluster)
    return f"""\
version = 2
root = "{images_folder()}"
state = "{here}/containerd"
[grpc]
  address = "{socket(cluster)}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{here}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  netns_mounts_under_state_dir = true
  # A machine may not let even root lower a process's OOM score; runc would die of it.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{here}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
"""


def network_config(cluster: Cluster) -> dict[str, Any]:
    bridge = {
        "type": "bridge",
        "bridge": BRIDGE,
        "isGateway": True,
        "hairpinMode": True,  # a pod may be its own Service's endpoint
        "ipam": {
            "type": "host-local",
            "dataDir": str(folder(cluster) / "addresses"),
            "ranges": [[{"subnet": PODS, "gateway": ADDRESS}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    return {"cniVersion": "0.4.0", "name": "kindless", "plugins": [bridge]}


def _write_kubelet(cluster: Cluster) -> None:
    here = folder(cluster)
    pki = cluster.folder / "pki"
    certificate, key = node_certificate(
        (pki / "admin.crt").read_bytes(), (pki / "ca.key").read_bytes(), name(cluster)
    )
    (here / "kubelet.crt").write_bytes(certificate)
    (here / "kubelet.key").write_bytes(key)
    content = kubeconfig.document(
        cluster.name,
        f"https://127.0.0.1:{cluster.ports['kube-apiserver']}",
        authority=(pki / "ca.crt").read_bytes(),
        certificate=certificate,
        key=key,
    )
    kubeconfig.write(here / "kubelet.kubeconfig", content)
    (here / "kubelet.yaml").write_text(yaml.safe_dump(kubelet_config(cluster)))


def kubelet_config(cluster: Cluster) -> dict[str, Any]:
    here = folder(cluster)
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(cluster.folder / "pki" / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "clusterDNS": [names.SERVER],
        "clusterDomain": names.DOMAIN,
        "containerRuntimeEndpoint": f"unix://{socket(cluster)}",
        "enforceNodeAllocatable": [],
        # The machine is shared with much else, and nothing of the cluster is worth evicting for it.
        "evictionHard": {
            "imagefs.available": "1%",
            "memory.available": "100Mi",
            "nodefs.available": "1%",
            "nodefs.inodesFree": "1%",
        },
        "failCgroupV1": False,
        "failSwapOn": False,
        # Loaded images cannot be pulled again.
        "imageGCHighThresholdPercent": 100,
        "makeIPTablesUtilChains": False,
        "oomScoreAdj": 0,
        "podLogsDir": str(here / "pod-logs"),
        "serializeImagePulls": False,
        "volumePluginDir": str(here / "volume-plugins"),
    }


def _kubelet(cluster: Cluster) -> Command:
    here = folder(cluster)
    return Command(
        "kubelet",
        [
            str(binaries.path("kubelet")),
            f"--config={here}/kubelet.yaml",
            f"--kubeconfig={here}/kubelet.kubeconfig",
            f"--root-dir={here}/kubelet",
            f"--cert-dir={here}/kubelet-pki",
            f"--hostname-override={name(cluster)}",
            f"--node-ip={ADDRESS}",
        ],
    )


def _write_proxy(cluster: Cluster) -> None:
    config = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(cluster.own_kubeconfig)},
        "clusterCIDR": PODS,
        "conntrack": {"maxPerCore": 0},
        "healthzBindAddress": "127.0.0.1:10256",
        "hostnameOverride": name(cluster),
        "metricsBindAddress": "127.0.0.1:10249",
        "mode": "nftables",
        "oomScoreAdj": 0,
    }
    (folder(cluster) / "kube-proxy.yaml").write_text(yaml.safe_dump(config))


def _proxy(cluster: Cluster) -> Command:
    # It runs beside the API server, which so reaches webhooks through Services.
    config = folder(cluster) / "kube-proxy.yaml"
    return Command("kube-proxy", [str(binaries.path("kube-proxy")), f"--config={config}"])


def node_certificate(sibling: bytes, authority_key: bytes, node: str) -> tuple[bytes, bytes]:
    """A kubelet's client certificate and key, by which the API server knows it for this node.

    The issuer's name is read off a sibling, a certificate that the same CA has signed: kwokctl's
    CA certificate has the serial number 0, which cryptography is about to refuse.
    """
    issuer = x509.load_pem_x509_certificate(sibling).issuer
    ca_key = serialization.load_pem_private_key(authority_key, password=None)
    if not isinstance(ca_key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise Problem("The cluster's CA key is of a kind that signs no certificates.")
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:nodes"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"system:node:{node}"),
        ]
    )
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=365))
        .add_extension(
            x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .sign(ca_key, hashes.SHA256())
    )
    return (
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )


def pause_archive() -> Path:
    """The image of the container that holds a pod's namespaces, compiled here, as an archive."""
    source = paths.data("pause.c")
    archive = paths.cache() / f"pause-{sha256(source.read_bytes()).hexdigest()[:12]}.tar"
    if not archive.exists():
        program = archive.with_suffix(".bin")
        _system("gcc", "-Os", "-static", "-s", "-o", str(program), str(source))
        unfinished = archive.with_suffix(".unfinished")
        unfinished.write_bytes(image_archive(PAUSE, program.read_bytes()))
        unfinished.replace(archive)
        program.unlink()
    return archive


def image_archive(reference: str, program: bytes) -> bytes:
    """A docker archive of an image that holds one static program, /pause."""
    layer = _tar({"pause": program}, mode=0o755)
    config = {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, ""),
        "os": "linux",
        "config": {"Entrypoint": ["/pause"], "User": "65535:65535"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [reference], "Layers": ["layer.tar"]}]
    return _tar(
        {
            "config.json": json.dumps(config).encode(),
            "layer.tar": layer,
            "manifest.json": json.dumps(manifest).encode(),
        }
    )


def _tar(files: dict[str, bytes], mode: int = 0o644) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for file, content in files.items():
            entry = tarfile.TarInfo(file)
            entry.size = len(content)
            entry.mode = mode
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _remove_log_links(below: Path) -> None:
    """kubelet links container logs from a fixed folder."""
    for link in Path("/var/log/containers").glob("*.log"):
        if link.is_symlink() and str(link.readlink()).startswith(f"{below}/"):
            link.unlink()


def _remove_cgroups() -> None:
    """Remove the empty cgroups that kubelet made; one that is in use refuses to go."""
    root = Path("/sys/fs/cgroup")
    for top in (*root.glob("kubepods"), *root.glob("*/kubepods")):
        if top.is_symlink() or top.parent.is_symlink():
            continue
        for cgroup, _, _ in os.walk(top, topdown=False):
            with contextlib.suppress(OSError):
                Path(cgroup).rmdir()


def _system(*arguments: str, stdin: str = "", seconds: float = 60) -> str:
    try:
        ran = subprocess.run(
            arguments, input=stdin, capture_output=True, text=True, timeout=seconds
        )
    except subprocess.TimeoutExpired as error:
        raise Problem(f"{arguments[0]} did not answer in {seconds:.0f} s.") from error
    if ran.returncode:
        raise Problem(f"`{' '.join(arguments[:8])}` failed: {ran.stderr.strip()[-500:]}")
    return ran.stdout
