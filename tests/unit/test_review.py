from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.builders import Raw, raw_execution

from supercheck_operator.admission.review import (
    Answer,
    InvalidExecutionError,
    MalformedReviewError,
    Submission,
    parse,
)


def raw_review(**request: Any) -> Raw:
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "review-1",
            "kind": {"group": "supercheck.io", "version": "v1alpha1", "kind": "TestExecution"},
            "operation": "CREATE",
            "namespace": "team-a",
            "object": raw_execution(),
        }
        | request,
    }


def parsed(review: object) -> Submission | str:
    return parse(json.dumps(review).encode())


def submission(*tests: str | Raw, **rest: Any) -> Submission:
    made = parsed(raw_review(object=raw_execution(*tests, **rest)))
    assert isinstance(made, Submission)
    return made


# Well-formed reviews -----------------------------------------------------------------------------


def test_a_create_is_a_submission() -> None:
    made = parsed(raw_review())
    assert isinstance(made, Submission)
    assert (made.request, made.namespace, made.uid) == ("review-1", "team-a", "uid-1")
    assert not made.dry_run
    assert [test.name for test in made.execution().spec.tests] == ["login"]


def test_a_dry_run_is_known_as_one() -> None:
    made = parsed(raw_review(dryRun=True))
    assert isinstance(made, Submission)
    assert made.dry_run


@pytest.mark.parametrize(
    "request_", [{"operation": "UPDATE"}, {"operation": "DELETE"}, {"subResource": "status"}]
)
def test_anything_but_a_create_is_none_of_ours(request_: Raw) -> None:
    assert parsed(raw_review(**request_, object=None)) == "review-1"


def test_the_namespace_of_the_request_is_the_one_that_counts() -> None:
    made = parsed(raw_review(namespace="team-b"))
    assert isinstance(made, Submission)
    assert made.execution().metadata.namespace == "team-b"


# Malformed reviews -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"garbage",
        b"\xff\xfe\x00",
        b"\x80",
        b'{"kind": "AdmissionReview"',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"9" * 10_000,
    ],
)
def test_a_body_that_is_no_json_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedReviewError, match=r"^The body is not JSON"):
        parse(body)


WITHOUT = object()


def changed(path: str, value: object) -> Raw:
    """A review with the field at ``path`` set to ``value``, or without it."""
    review = raw_review()
    *parents, last = path.split(".")
    place: Raw = review
    for parent in parents:
        place = place[parent]
    if value is WITHOUT:
        del place[last]
    else:
        place[last] = value
    return review


@pytest.mark.parametrize(
    ("review", "told"),
    [
        (None, "The body is not an AdmissionReview."),
        ([], "The body is not an AdmissionReview."),
        ("AdmissionReview", "The body is not an AdmissionReview."),
        (changed("kind", "AdmissionReviewList"), "The body is not an AdmissionReview."),
        (changed("kind", ["AdmissionReview"]), "The body is not an AdmissionReview."),
        (
            changed("apiVersion", "admission.k8s.io/v1beta1"),
            "The AdmissionReview is not of admission.k8s.io/v1.",
        ),
        (changed("request", WITHOUT), "The AdmissionReview has no request."),
        (changed("request", []), "The AdmissionReview has no request."),
        (changed("request.uid", WITHOUT), "The request has no uid."),
        (changed("request.uid", ""), "The request has no uid."),
        (changed("request.uid", 7), "The request has no uid."),
        (changed("request.kind", WITHOUT), "The request is not about a TestExecution."),
        (changed("request.kind", "TestExecution"), "The request is not about a TestExecution."),
        (changed("request.kind.group", "batch"), "The request is not about a TestExecution."),
        (changed("request.kind.kind", "Job"), "The request is not about a TestExecution."),
        (changed("request.kind.version", "v1"), "The request is not about a TestExecution."),
        (
            changed("request.operation", "PATCH"),
            "The request's operation is none that is known.",
        ),
        (changed("request.object", WITHOUT), "The request has no object."),
        (changed("request.object", []), "The request has no object."),
        (changed("request.object.kind", "Job"), "The object is not a TestExecution."),
        (changed("request.object.apiVersion", "v1"), "The object is not a TestExecution."),
        (changed("request.object.metadata", None), "The request has no object."),
        (changed("request.object.metadata.uid", WITHOUT), "The object has no metadata.uid."),
        (changed("request.object.metadata.uid", ""), "The object has no metadata.uid."),
        (changed("request.object.metadata.uid", {}), "The object has no metadata.uid."),
        (changed("request.object.metadata.uid", "a\nb"), "The object has no metadata.uid."),
        (changed("request.object.metadata.uid", "x" * 129), "The object has no metadata.uid."),
        (changed("request.namespace", WITHOUT), "The request has no namespace."),
        (changed("request.namespace", ""), "The request has no namespace."),
        (changed("request.namespace", "../x"), "The request has no namespace."),
        (changed("request.namespace", "team-a\n"), "The request has no namespace."),
        (changed("request.dryRun", "yes"), "The request's dryRun is neither true nor false."),
        (changed("request.dryRun", None), "The request's dryRun is neither true nor false."),
    ],
)
def test_a_malformed_review_is_told_what_is_wrong_with_it(review: object, told: str) -> None:
    with pytest.raises(MalformedReviewError) as refusal:
        parsed(review)
    assert str(refusal.value) == told


# Invalid executions ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (raw_execution(tests=[]), "spec.tests: "),
        (raw_execution(tests={}), "spec.tests: "),
        (raw_execution(tests=[{"name": "a"}]), "spec.tests.0.image: "),
        (raw_execution({"name": "A", "image": "i"}), "spec.tests.0.name: "),
        (raw_execution({"name": "a", "image": "i", "args": "x"}), "spec.tests.0.args: "),
        (raw_execution(queue="no_label"), "spec.queue: "),
        (raw_execution(priority=2**31), "spec.priority: "),
        (raw_execution(timeoutSeconds=0), "spec.timeoutSeconds: "),
        (raw_execution(timeoutSeconds="1"), "spec.timeoutSeconds: "),
        (raw_execution(failFast=1), "spec.failFast: "),
        (raw_execution(queue="\ud800"), "object: "),
        (
            raw_execution({"name": "a", "image": "i", "resources": {"limits": {"cpu": "Gi"}}}),
            "spec.tests.0.resources.limits.cpu",
        ),
        (raw_execution(template=[]), "spec.template: "),
        (raw_execution(retry={"on": ["Never"]}), "spec.retry.on.0: "),
        (raw_execution() | {"spec": None}, "spec: "),
        (raw_execution(*[f"t{n}" for n in range(101)]), "spec.tests: "),
    ],
)
def test_an_invalid_field_is_named(raw: Raw, field: str) -> None:
    made = parsed(raw_review(object=raw))
    assert isinstance(made, Submission)
    with pytest.raises(InvalidExecutionError) as refusal:
        made.execution()
    assert str(refusal.value).startswith(field)
    assert "\n" not in str(refusal.value)


def test_two_tests_of_one_name_are_invalid() -> None:
    with pytest.raises(InvalidExecutionError, match=r"^spec\.tests: names must be unique$"):
        submission("a", "b", "a").execution()


# Any review at all -------------------------------------------------------------------------------

anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=5)
    | st.sampled_from(["CREATE", "TestExecution", "\ud800", "team-a"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


def paths(node: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    children: list[tuple[str | int, object]] = []
    if isinstance(node, dict):
        children = list(node.items())
    elif isinstance(node, list):
        children = list(enumerate(node))
    return [path, *(deeper for key, child in children for deeper in paths(child, (*path, key)))]


RICH = raw_review(
    dryRun=False,
    object=raw_execution(
        {
            "name": "login",
            "image": "image:1",
            "command": ["sh"],
            "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
            "envFrom": [{"configMapRef": {"name": "c"}}],
            "resources": {"limits": {"cpu": 1}},
            "script": "echo",
            "timeoutSeconds": 3,
        },
        template={"spec": {"nodeSelector": {"a": "b"}}},
        retry={"limit": 0, "on": ["Error"], "backoffSeconds": 1},
        priority=1,
    ),
)
PATHS = paths(RICH)


def replaced(node: Any, path: tuple[str | int, ...], value: object) -> Any:
    if not path:
        return value
    head, *rest = path
    if isinstance(node, dict):
        items = {k: v for k, v in node.items() if k != head or rest or value is not WITHOUT}
        if head in items:
            items[head] = replaced(node[head], tuple(rest), value)
        return items
    if isinstance(node, list) and isinstance(head, int) and head < len(node):
        changed_item = (
            [] if value is WITHOUT and not rest else [replaced(node[head], tuple(rest), value)]
        )
        return [*node[:head], *changed_item, *node[head + 1 :]]
    return node


@given(
    changes=st.lists(
        st.tuples(st.sampled_from(PATHS[1:]), anything | st.just(WITHOUT)), min_size=1, max_size=3
    )
)
def test_a_review_changed_anywhere_is_malformed_invalid_or_understood(
    changes: list[tuple[tuple[str | int, ...], object]],
) -> None:
    review: Any = RICH
    for path, value in changes:
        review = replaced(review, path, value)
    try:
        made = parsed(review)
    except MalformedReviewError:
        return
    if isinstance(made, str):
        assert made
        return
    assert made.uid
    try:
        made.execution()
    except InvalidExecutionError:
        return


@given(body=st.binary(max_size=50) | anything.map(lambda value: json.dumps(value).encode()))
def test_any_body_at_all_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedReviewError):
        parse(body)


def test_a_deeply_nested_object_is_no_crash() -> None:
    body = json.dumps(raw_review(object=raw_execution(template={"spec": "HERE"})))
    deep = '{"a":' * 900 + "1" + "}" * 900
    try:
        made = parse(body.replace('"HERE"', deep).encode())
    except MalformedReviewError:
        return
    assert isinstance(made, Submission)
    with suppress(InvalidExecutionError):
        made.execution()


# Answers -----------------------------------------------------------------------------------------


def test_a_yes_says_no_more_than_yes() -> None:
    assert Answer(allowed=True).envelope("review-1") == {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": {"uid": "review-1", "allowed": True},
    }


def test_a_no_carries_what_becomes_the_api_servers_own_answer() -> None:
    answer = Answer(allowed=False, code=429, reason="TooManyRequests", message="full")
    status = {"status": "Failure", "code": 429, "reason": "TooManyRequests", "message": "full"}
    assert answer.envelope("review-1")["response"]["status"] == status


def test_clients_are_told_to_retry_only_if_so_configured() -> None:
    answer = Answer(allowed=False, code=429, retry_after_seconds=7)
    details = answer.envelope("review-1")["response"]["status"]["details"]
    assert details == {"retryAfterSeconds": 7}
