"""What a test finds around it in its container."""

from __future__ import annotations

import hashlib
import json
import uuid
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from e2e.conftest import Namespace, Operator

_LOOKS_AT_ITS_SCRIPT = """\
#!/usr/bin/env python3
import os

PATH = "/supercheck/script"
assert os.path.getsize(PATH) > 200 * 1024
assert os.statvfs(PATH).f_flag & os.ST_RDONLY
try:
    open(PATH, "a")
except OSError:
    pass
else:
    raise SystemExit("it can be written")
"""

_FINDS_SERVICES = """\
import os, socket, ssl

assert socket.gethostbyname("shop") == os.environ["SHOP"]
known = ssl.create_default_context(cadata=os.environ["AUTHORITY"])
with socket.create_connection(("kubernetes.default.svc", 443)) as connection:
    known.wrap_socket(connection, server_hostname="kubernetes.default.svc")
"""

_LOOKS_AT_ITS_RIGHTS = """\
import os

said = dict(line.split(":\t") for line in open("/proc/self/status").read().splitlines())
assert os.getuid() != 0
assert int(said["CapEff"], 16) == int(said["CapBnd"], 16) == 0
assert said["NoNewPrivs"] == "1"
assert said["Seccomp"] == "2"
assert not os.path.exists("/var/run/secrets/kubernetes.io")
"""


def test_a_large_script_is_run_from_a_read_only_file_and_goes_with_its_execution(
    namespace: Namespace, image: str
) -> None:
    script = _LOOKS_AT_ITS_SCRIPT + "# and nothing else\n" * (200 * 1024 // 19)
    name = namespace.submit(
        "scripted",
        {"name": "script", "image": image, "command": ["/supercheck/script"], "script": script},
    )

    status = namespace.finished(name)

    assert status["phase"] == "Passed", status.get("message")
    uid = namespace.get("testexecution", name)["metadata"]["uid"]
    [stored] = namespace.get("configmaps", f"--selector=supercheck.io/execution={name}")["items"]
    assert stored["data"] == {"script": script}
    assert [owner["uid"] for owner in stored["metadata"]["ownerReferences"]] == [uid]
    [job] = namespace.jobs_of(name)
    assert "and nothing else" not in json.dumps(job)
    namespace.kubectl("delete", "testexecution", name, f"--namespace={namespace.name}")
    namespace.wait("delete", f"configmap/{stored['metadata']['name']}")


def test_a_secret_reaches_its_test_and_nothing_else(
    namespace: Namespace, operator: Operator, image: str
) -> None:
    secret = uuid.uuid4().hex
    namespace.create(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "shop", "namespace": namespace.name},
            "stringData": {"TOKEN": secret},
        }
    )
    digest = hashlib.sha256(secret.encode()).hexdigest()
    reads = (
        "import hashlib, os; value = os.environ['{}'].encode();"
        f" assert hashlib.sha256(value).hexdigest() == '{digest}'"
    )
    name = namespace.submit(
        "login",
        {
            "name": "one",
            "image": image,
            "command": ["python3", "-c", reads.format("SHOP")],
            "env": [
                {"name": "SHOP", "valueFrom": {"secretKeyRef": {"name": "shop", "key": "TOKEN"}}}
            ],
        },
        {
            "name": "all",
            "image": image,
            "command": ["python3", "-c", reads.format("SHOP_TOKEN")],
            "envFrom": [{"prefix": "SHOP_", "secretRef": {"name": "shop"}}],
        },
    )

    status = namespace.finished(name)

    assert status["phase"] == "Passed", status.get("message")
    assert secret not in json.dumps(namespace.get("testexecution", name))
    assert secret not in json.dumps(namespace.get("jobs"))
    assert secret not in operator.log()


def test_a_pod_has_no_more_rights_than_the_restricted_level_allows(
    namespace: Namespace, image: str
) -> None:
    name = namespace.submit(
        "humble",
        {"name": "suite", "image": image, "command": ["python3", "-c", _LOOKS_AT_ITS_RIGHTS]},
    )

    status = namespace.finished(name)

    enforced = namespace.kubectl.get("namespace", namespace.name)["metadata"]["labels"]
    assert enforced["pod-security.kubernetes.io/enforce"] == "restricted"
    assert status["phase"] == "Passed", status.get("message")
    [pod] = namespace.pods_of(name)
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert "volumes" not in pod["spec"]


def test_it_finds_services_by_their_names_and_the_api_server_proves_its_own(
    namespace: Namespace, image: str
) -> None:
    shop = {"name": "shop", "namespace": namespace.name}
    namespace.create(
        {"apiVersion": "v1", "kind": "Service", "metadata": shop, "spec": {"ports": [{"port": 80}]}}
    )
    address = namespace.get("service", "shop")["spec"]["clusterIP"]
    authority = {"configMapKeyRef": {"name": "kube-root-ca.crt", "key": "ca.crt"}}
    name = namespace.submit(
        "finder",
        {
            "name": "only",
            "image": image,
            "command": ["python3", "-c", _FINDS_SERVICES],
            "env": [
                {"name": "SHOP", "value": address},
                {"name": "AUTHORITY", "valueFrom": authority},
            ],
        },
    )

    status = namespace.finished(name)

    assert status["phase"] == "Passed", status.get("message")
