"""10,000 bodies that Hypothesis makes up, sent to a real operator: ``Judge`` says what must hold.

What may be allowed is judged by the CRD's own schema and by what the contract says of a review,
never by the operator's code. There is room for all: no refusal for capacity hides a mistake. What
is in a template is left out: that is for the API server, whose schema comes first.
"""

import http.client
import json
import re
import ssl
import string
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import closing
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import pytest_asyncio
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from conftest import Cluster
from harness.api import Api, Raw
from harness.process import Operator
from harness.steps import QUEUES
from harness.webhook import registered, review

CRD: Raw = yaml.safe_load((Path(__file__).parents[2] / "crds" / "testexecutions.yaml").read_text())
SCHEMA = CRD["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
SCHEMA["properties"]["spec"]["properties"]["template"] = {"type": "object"}
SCHEMA_JUDGE = jsonschema.Draft4Validator(SCHEMA)
OURS = {"group": "supercheck.io", "version": "v1alpha1", "kind": "TestExecution"}
RECORD = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [A-Z]+ [\w.]+: ")
FORGED = "2026-11-24 00:00:00,000 INFO supercheck_operator: forged"
SELECTIVE = "selective"
"""A queue that asks for the labels of the namespace, which the operator has to look up by name."""

fuzzed = settings(
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)


class Judge:
    """Asks the webhook, and fails where it crashes or allows what is no create of ours."""

    def __init__(self, operator: Operator, authority: str) -> None:
        self.operator = operator
        self._port = operator.webhook_port
        self._tls = ssl.create_default_context(cadata=authority)
        self._connection = self._connect()
        self.told: Counter[str] = Counter()

    def _connect(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection("127.0.0.1", self._port, context=self._tls, timeout=10)

    def close(self) -> None:
        self._connection.close()

    def __call__(self, body: bytes) -> None:
        headers = {"Content-Type": "application/json"}
        self._connection.request("POST", "/validate", body, headers)
        response = self._connection.getresponse()
        status, text = response.status, response.read()
        if status != 200:
            assert 400 <= status < 500, (status, text, body)
            assert b"allowed" not in text
            self.told[str(status)] += 1
            return
        answer = json.loads(text)["response"]
        asked = json.loads(body)["request"]
        assert answer["uid"] == asked["uid"]
        if answer["allowed"]:
            assert may_be_allowed(body), body
            self.told["allowed"] += 1
        else:
            refusal = answer["status"]
            assert refusal["code"] in (403, 422, 503), (refusal, body)
            assert refusal["message"].isprintable(), (refusal, body)
            self.told[f"refused {refusal['code']}"] += 1

    def raw(self, stream: bytes) -> bytes:
        """What comes back for ``stream`` instead of a request."""
        connection = self._connect()
        try:
            connection.connect()
            connection.sock.sendall(stream)
            connection.sock.settimeout(0.2)  # it may wait for more, as it has to
            received: bytes = connection.sock.recv(65536)
        except OSError:
            return b""
        else:
            return received
        finally:
            connection.close()


def may_be_allowed(body: bytes) -> bool:
    """A review of our kind that is no create, which is nothing to capacity; or a valid create."""
    asked = json.loads(body)
    request = asked["request"]
    envelope = (asked["apiVersion"], asked["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
    if not envelope or not request["uid"] or request["kind"] != OURS:
        return False
    if request["operation"] in ("UPDATE", "DELETE", "CONNECT") or request.get("subResource"):
        return True
    if request["operation"] != "CREATE":
        return False
    made = request["object"]
    if (made["apiVersion"], made["kind"]) != ("supercheck.io/v1alpha1", "TestExecution"):
        return False
    named = re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", request["namespace"])
    return bool(named and made["metadata"]["uid"] and SCHEMA_JUDGE.is_valid(_told(made)))


def _told(node: Any) -> Any:
    """Without what is null, which to an API server is as good as absent."""
    if isinstance(node, dict):
        return {key: _told(child) for key, child in node.items() if child is not None}
    return [_told(child) for child in node] if isinstance(node, list) else node


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def judge(
    cluster: Cluster, api: Api, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Judge]:
    operator = Operator(
        cluster.kubeconfig, tmp_path_factory.mktemp("operator") / "log",
        flags=["--log-level", "debug"], RUNNING_CAPACITY="100000", QUEUED_CAPACITY="100000",
    )  # fmt: skip
    await operator.start()
    try:
        queue = {
            "apiVersion": "supercheck.io/v1alpha1",
            "kind": "ExecutionQueue",
            "metadata": {"name": SELECTIVE},
            "spec": {"namespaceSelector": {"matchLabels": {"a": "b"}}},
        }
        await api.create(QUEUES, queue)
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ns"}}
        await api.create("/api/v1/namespaces", namespace)
        _, authority = await registered(operator, api)
        with closing(Judge(operator, authority)) as made:
            yield made
    finally:
        operator.kill()


def whole() -> Raw:
    """A review with a bit of everything in it."""
    made = review(dry_run=False)
    made["request"] |= {"uid": "r", "subResource": ""}
    made["request"]["object"]["metadata"] |= {"uid": "u", "name": "e", "labels": {"a": "b"}}
    made["request"]["object"]["spec"] = {
        "queue": "default",
        "priority": 1,
        "suspend": False,
        "timeoutSeconds": 60,
        "failFast": True,
        "retry": {"limit": 1, "on": ["Error"], "backoffSeconds": 1},
        "template": {"spec": {"nodeSelector": {"a": "b"}}},
        "tests": [
            {
                "name": "login",
                "image": "i",
                "command": ["sh"],
                "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
                "resources": {"limits": {"cpu": 1, "memory": "1Gi"}},
                "script": "echo",
                "timeoutSeconds": 3,
            }
        ],
    }
    return made


Path_ = tuple[str | int, ...]


def places(node: Any, so_far: Path_ = ()) -> list[Path_]:
    items: Any = ()
    if isinstance(node, dict):
        items = node.items()
    elif isinstance(node, list):
        items = enumerate(node)
    return [
        each for key, child in items for each in ((*so_far, key), *places(child, (*so_far, key)))
    ]


WHOLE = whole()
PLACES = places(WHOLE)
GONE = object()
TELLING: st.SearchStrategy[Any] = st.sampled_from(
    [
        *(
            "CREATE",
            "UPDATE",
            "DELETE",
            "CONNECT",
            "create",
            "default",
            SELECTIVE,
            "none",
            "status",
        ),
        *("TestExecution", "Job", "v1alpha1", "v1", "Error", "Always", "login", "1", "true", ""),
        *(f"x\n{FORGED}", f"x\r\n{FORGED}", "\x1b[2J\x1b[31m", "\u2028", "\u202e", "\ud800", "\0"),
        *("../../../api/v1/secrets", "a/b", "a b", "x" * 5000, "é", "a" * 63, "a" * 64, "-a"),
        *(True, False, None, 0, 1, -1, 2**31, 2**63, 2**64, 1e400, 1.5, float("nan")),
        *([], {}, [[]], [{}], {"": None}, ["x"], [1], {"a": "b"}),
    ]
)
ANYTHING = st.recursive(
    TELLING | st.integers() | st.floats() | st.text(st.characters(), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(string.ascii_letters, max_size=8), inner, max_size=3)
    ),
    max_leaves=5,
)
CHANGES = st.lists(
    st.tuples(st.sampled_from(PLACES), TELLING | ANYTHING | st.just(GONE)), max_size=3
)


def changed(changes: list[tuple[Path_, Any]]) -> Raw:
    """The whole review with these places changed, as far as they are still there."""
    made: Raw = deepcopy(WHOLE)
    for (*path, last), value in changes:
        place: Any = made
        for key in path:
            there = isinstance(place, dict) or (isinstance(place, list) and isinstance(key, int))
            place = place[key] if there and _has(place, key) else None
        if place is None or not _has(place, last):
            continue
        if value is GONE:
            del place[last]
        else:
            place[last] = deepcopy(value)
    return made


def _has(place: Any, key: str | int) -> bool:
    if isinstance(place, dict):
        return key in place
    return isinstance(place, list) and isinstance(key, int) and key < len(place)


def test_no_bytes_at_all_are_allowed_or_crash_it(judge: Judge) -> None:
    judge.told.clear()

    @settings(fuzzed, max_examples=3000)
    @given(st.binary(max_size=300) | ANYTHING.map(lambda made: json.dumps(made).encode()))
    def anything(body: bytes) -> None:
        judge(body)

    anything()
    assert judge.told.keys() == {"400"}
    _still_whole(judge)


def test_a_review_changed_anywhere_is_allowed_only_if_it_is_a_valid_create(judge: Judge) -> None:
    judge.told.clear()

    @settings(fuzzed, max_examples=6000)
    @given(st.sampled_from(["default", "default", SELECTIVE, "none"]), CHANGES)
    def changed_anywhere(queue: str, changes: list[tuple[Path_, Any]]) -> None:
        to_queue = (("request", "object", "spec", "queue"), queue)
        judge(json.dumps(changed([to_queue, *changes])).encode())

    changed_anywhere()
    for kind in ("allowed", "400", "refused 403", "refused 422"):
        assert judge.told[kind] > 100, judge.told
    _still_whole(judge)


def test_a_review_with_other_bytes_in_it_is_judged_by_what_it_says_then(judge: Judge) -> None:
    judge.told.clear()
    text = json.dumps(WHOLE).encode()
    place = st.integers(0, len(text))

    @settings(fuzzed, max_examples=2000)
    @given(
        place,
        st.integers(0, 4),
        st.binary(max_size=4) | st.sampled_from([b'"', b"}", b","]),
    )
    def with_other_bytes(at: int, without: int, instead: bytes) -> None:
        judge(text[:at] + instead + text[at + without :])

    with_other_bytes()
    assert min(judge.told["allowed"], judge.told["400"]) > 100, judge.told
    _still_whole(judge)


def test_what_is_not_even_http_is_answered_as_a_bad_request_or_not_at_all(judge: Judge) -> None:
    body = json.dumps(WHOLE).encode()
    head = (
        b"POST /validate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: "
    )
    sound = head + str(len(body)).encode() + b"\r\n\r\n" + body

    @settings(fuzzed, max_examples=300)
    @given(st.binary(min_size=1, max_size=200), st.integers(0, len(head) + 3), st.booleans())
    def noise(noise: bytes, at: int, inside: bool) -> None:
        stream = sound[:at] + noise + sound[at:] if inside else noise
        answer = judge.raw(stream + b"\r\n\r\n")
        assert not answer.startswith(b"HTTP/1.1 5"), (stream, answer)

    noise()
    _still_whole(judge)


def _still_whole(judge: Judge) -> None:
    """It answers as ever, and its log is lines of its own, each of which can be read."""
    judge(json.dumps(WHOLE).encode())
    lines = judge.operator.log.split("\n")
    assert len(lines) > 1
    for line in lines[:-1]:
        assert line.isprintable(), line
        assert RECORD.match(line) or line.startswith("  | "), line
        assert not line.startswith(FORGED)
    assert "Traceback" not in judge.operator.log
