"""AdmissionReview in, AdmissionReview out: the envelope of the webhook. Pure.

https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError

from supercheck_operator.resources import API_VERSION as OBJECT_VERSION
from supercheck_operator.resources import GROUP, VERSION, Raw, TestExecution

API_VERSION: Final = "admission.k8s.io/v1"
KIND: Final = "AdmissionReview"
_OURS: Final = {"group": GROUP, "version": VERSION, "kind": "TestExecution"}
_NAMESPACE: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_UID: Final = re.compile(r"[-.\w]{1,128}", re.ASCII)
_OPERATIONS: Final = ("CREATE", "UPDATE", "DELETE", "CONNECT")


class MalformedReviewError(ValueError):
    """Not a review that this webhook can answer; its text says what is wrong with it."""


class InvalidExecutionError(ValueError):
    """The review is fine, the TestExecution in it is not; its text names the field."""


@dataclass(frozen=True, slots=True)
class Submission:
    """Somebody wants to create a TestExecution."""

    request: str
    """UID of the review, which its answer must carry."""
    namespace: str
    dry_run: bool
    raw: Raw

    @property
    def uid(self) -> str:
        """UID that the object will have: the API server gives it before it asks."""
        return str(self.raw["metadata"]["uid"])

    def execution(self) -> TestExecution:
        """The object, in our types. Raises InvalidExecutionError.

        The API server has held it against the schema already; this is for what reaches the
        webhook without, and for what no schema can say.
        """
        # A new one has no version yet; written as text, it would be none to a strict reading.
        metadata = self.raw["metadata"] | {"namespace": self.namespace, "resourceVersion": 0}
        try:
            # As JSON: only so a strict reading, which takes no "1" for 1, knows words for enums.
            text = json.dumps(self.raw | {"metadata": metadata})
            execution = TestExecution.model_validate_json(text, strict=True)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"]) or "object"
            raise InvalidExecutionError(f"{field}: {first['msg']}") from error
        names = [test.name for test in execution.spec.tests]
        if len(set(names)) < len(names):
            raise InvalidExecutionError("spec.tests: names must be unique")
        return execution


@dataclass(frozen=True, slots=True)
class Answer:
    """What the API server is told; ``code`` and ``reason`` become those of its own answer."""

    allowed: bool
    code: int = 200
    reason: str = ""
    message: str = ""
    retry_after_seconds: int = 0

    def envelope(self, request: str) -> Raw:
        response: Raw = {"uid": request, "allowed": self.allowed}
        if not self.allowed:
            status: Raw = {
                "status": "Failure",
                "code": self.code,
                "reason": self.reason,
                "message": self.message,
            }
            if self.retry_after_seconds:
                status["details"] = {"retryAfterSeconds": self.retry_after_seconds}
            response["status"] = status
        return {"apiVersion": API_VERSION, "kind": KIND, "response": response}


def parse(body: bytes) -> Submission | str:
    """The submission in a review, or the UID of a review about something that is none of ours.

    Raises MalformedReviewError.
    """
    try:
        review = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise MalformedReviewError("The body is not JSON.") from error
    if not isinstance(review, dict) or review.get("kind") != KIND:
        raise MalformedReviewError(f"The body is not an {KIND}.")
    if review.get("apiVersion") != API_VERSION:
        raise MalformedReviewError(f"The {KIND} is not of {API_VERSION}.")
    request = review.get("request")
    if not isinstance(request, dict):
        raise MalformedReviewError(f"The {KIND} has no request.")
    uid = request.get("uid")
    if not isinstance(uid, str) or not uid:
        raise MalformedReviewError("The request has no uid.")
    if request.get("kind") != _OURS:
        raise MalformedReviewError("The request is not about a TestExecution.")
    operation = request.get("operation")
    if operation not in _OPERATIONS:
        raise MalformedReviewError("The request's operation is none that is known.")
    if operation != "CREATE" or request.get("subResource"):
        return uid
    return _submission(uid, request)


def _submission(uid: str, request: Raw) -> Submission:
    raw, namespace = request.get("object"), request.get("namespace")
    if not isinstance(raw, dict) or not isinstance(raw.get("metadata"), dict):
        raise MalformedReviewError("The request has no object.")
    if (raw.get("apiVersion"), raw.get("kind")) != (OBJECT_VERSION, "TestExecution"):
        raise MalformedReviewError("The object is not a TestExecution.")
    object_uid = raw["metadata"].get("uid")
    if not isinstance(object_uid, str) or not _UID.fullmatch(object_uid):
        raise MalformedReviewError("The object has no metadata.uid.")
    if not isinstance(namespace, str) or not _NAMESPACE.fullmatch(namespace):
        raise MalformedReviewError("The request has no namespace.")
    dry_run = request.get("dryRun", False)
    if not isinstance(dry_run, bool):
        raise MalformedReviewError("The request's dryRun is neither true nor false.")
    return Submission(uid, namespace, dry_run, raw)
