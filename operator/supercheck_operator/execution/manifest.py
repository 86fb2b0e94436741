"""A test of an execution → the Job that runs it, and the ConfigMap that carries its script."""

from __future__ import annotations

import copy
from typing import Any, Final

from supercheck_operator.execution.naming import job_name_of
from supercheck_operator.execution.observed import CONTAINER
from supercheck_operator.resources import (
    API_VERSION,
    LABEL_EXECUTION,
    LABEL_EXECUTION_UID,
    LABEL_QUEUE,
    LABEL_TEST,
    Test,
    TestExecution,
)

Manifest = dict[str, Any]

SCRIPT_PATH: Final = "/supercheck/script"
_SCRIPT_VOLUME: Final = "supercheck-script"

# The restricted Pod Security profile:
# https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
_POD_DEFAULTS: Final[Manifest] = {
    "restartPolicy": "Never",
    "automountServiceAccountToken": False,
    "enableServiceLinks": False,
}
_POD_SECURITY: Final[Manifest] = {
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
_CONTAINER_SECURITY: Final[Manifest] = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
}
_LAST_WORDS: Final[Manifest] = {"terminationMessagePolicy": "FallbackToLogsOnError"}
"""So that a status can say why a container failed."""


class InvalidTemplateError(ValueError):
    """The execution's ``template`` has not even the shape of a PodTemplateSpec."""


def labels(execution: TestExecution, test: str) -> dict[str, str]:
    return {
        LABEL_EXECUTION: execution.metadata.name,
        LABEL_EXECUTION_UID: execution.metadata.uid,
        LABEL_QUEUE: execution.spec.queue,
        LABEL_TEST: test,
    }


def job(execution: TestExecution, test: Test, attempt: int = 1) -> Manifest:
    """The Job of ``attempt`` at ``test``: one pod, never restarted, owned by the execution.

    Raises InvalidTemplateError; what else is wrong with a template, the API server tells.
    """
    ours = labels(execution, test.name)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": _metadata(execution, test.name, job_name_of(execution, test.name, attempt)),
        "spec": {
            # A failed pod is final: retries are decided here, not by the Job controller, which
            # would start a second pod before the first one's slot is known to be free.
            "backoffLimit": 0,
            "completions": 1,
            "parallelism": 1,
            "podReplacementPolicy": "Failed",
            "template": _pod_template(execution, test, ours),
        },
    }


def script_config_map(execution: TestExecution, test: str, script: str) -> Manifest:
    """The script of ``test``, the same for every attempt, under the name of the first one's Job."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _metadata(execution, test, job_name_of(execution, test)),
        "immutable": True,
        "data": {"script": script},
    }


def _metadata(execution: TestExecution, test: str, name: str) -> Manifest:
    return {
        "name": name,
        "namespace": execution.metadata.namespace,
        "labels": labels(execution, test),
        "ownerReferences": [
            {
                "apiVersion": API_VERSION,
                "kind": "TestExecution",
                "name": execution.metadata.name,
                "uid": execution.metadata.uid,
                "controller": True,
                "blockOwnerDeletion": False,
            }
        ],
    }


def _pod_template(execution: TestExecution, test: Test, ours: dict[str, str]) -> Manifest:
    try:
        template = copy.deepcopy(execution.spec.template or {})
    except RecursionError as error:
        raise InvalidTemplateError("spec.template: nested too deep") from error
    metadata = _mapping(template, "metadata")
    template["metadata"] = metadata | {"labels": _mapping(metadata, "labels") | ours}
    given = _mapping(template, "spec")
    containers = _mappings(given, "containers")
    laid_under = next((c for c in containers if c.get("name") == CONTAINER), {})
    others = [_restricted(c) for c in containers if c is not laid_under]
    pod = _POD_DEFAULTS | given
    # Never restarted, whatever the template says: a restart would hide a failure.
    pod["restartPolicy"] = "Never"
    pod["securityContext"] = _POD_SECURITY | _mapping(given, "securityContext")
    pod["containers"] = [_container(test, laid_under), *others]
    if "initContainers" in given:
        pod["initContainers"] = [
            _restricted(_LAST_WORDS | c) for c in _mappings(given, "initContainers")
        ]
    if test.script is not None:
        name = job_name_of(execution, test.name)
        volume = {"name": _SCRIPT_VOLUME, "configMap": {"name": name, "defaultMode": 0o555}}
        pod["volumes"] = [*_mappings(given, "volumes"), volume]
    template["spec"] = pod
    return template


def _container(test: Test, laid_under: Manifest) -> Manifest:
    said = test.model_dump(
        by_alias=True, exclude_none=True, exclude={"name", "script", "timeout_seconds"}
    )
    container = _restricted(_LAST_WORDS | laid_under | said | {"name": CONTAINER})
    if test.script is not None:
        mount = {
            "name": _SCRIPT_VOLUME,
            "mountPath": SCRIPT_PATH,
            "subPath": "script",
            "readOnly": True,
        }
        container["volumeMounts"] = [*_mappings(laid_under, "volumeMounts"), mount]
    return container


def _restricted(container: Manifest) -> Manifest:
    return container | {
        "securityContext": _CONTAINER_SECURITY | _mapping(container, "securityContext")
    }


def _mapping(parent: Manifest, field: str) -> Manifest:
    value = parent.get(field)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidTemplateError(f"spec.template: {field} must be an object")
    return value


def _mappings(parent: Manifest, field: str) -> list[Manifest]:
    value = parent.get(field)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise InvalidTemplateError(f"spec.template: {field} must be a list of objects")
    return value
