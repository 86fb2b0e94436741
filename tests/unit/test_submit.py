"""What a caller is told of a submission, word for word."""

from __future__ import annotations

import pytest

from supercheck_operator.kube import AnsweredError, UnreachableError
from supercheck_operator.web.submit import Refused, parse, refusal

FULL = (
    "Queue capacity limit reached (50/50 queued jobs). Please try again later when running"
    " capacity (5/5) is available."
)
DENIED = 'admission webhook "admission.supercheck.io" denied the request: '


def test_a_refusal_for_capacity_is_the_contract_s() -> None:
    answer = refusal(AnsweredError(429, "TooManyRequests", DENIED + FULL, 7))
    assert answer.status == 429
    assert answer.body == {"error": "Queue capacity limit reached", "message": FULL}
    assert answer.retry_after == 7


def test_another_429_is_not_about_capacity() -> None:
    answer = refusal(AnsweredError(429, "TooManyRequests", "Too many requests, slow down.", 1))
    assert answer.body["error"] == "Too many requests"


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, "Bad request"),
        (401, "Unauthorized"),
        (403, "Forbidden"),
        (404, "Not found"),
        (409, "Conflict"),
        (422, "Unprocessable entity"),
        (503, "Service unavailable"),
    ],
)
def test_every_other_status_is_passed_on(status: int, error: str) -> None:
    answer = refusal(AnsweredError(status, "", DENIED + "no."))
    assert (answer.status, answer.body) == (status, {"error": error, "message": "no."})


def test_an_api_server_that_fails_is_not_our_failure() -> None:
    assert refusal(AnsweredError(500, "InternalError", "failed calling webhook")).status == 502
    assert refusal(UnreachableError("POST /apis: timeout")).status == 503


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[" * 100_000, 400),
        (b"\xff\xfe", 400),
        (b"[]", 422),
        (b"null", 422),
        (b"{}", 422),
        (b'{"metadata": 1}', 422),
        (b'{"metadata": {}}', 422),
        (b'{"metadata": {"namespace": ""}}', 422),
        (b'{"metadata": {"namespace": ".."}}', 422),
        (b'{"metadata": {"namespace": "a/../b"}}', 422),
        (b'{"metadata": {"namespace": "a\\n"}}', 422),
        (b'{"metadata": {"namespace": ["a"]}}', 422),
    ],
)
def test_what_names_no_namespace_is_not_sent_on(body: bytes, status: int) -> None:
    with pytest.raises(Refused) as told:
        parse(body)
    assert told.value.status == status


def test_kind_and_version_need_not_be_said() -> None:
    parsed = parse(b'{"metadata": {"namespace": "team-a"}}')
    assert (parsed["apiVersion"], parsed["kind"]) == ("supercheck.io/v1alpha1", "TestExecution")
