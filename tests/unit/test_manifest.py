from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.builders import Raw, execution

from supercheck_operator.execution.manifest import (
    InvalidTemplateError,
    job,
    script_config_map,
)
from supercheck_operator.execution.naming import job_name_of
from supercheck_operator.resources import TestExecution

OURS = {
    "supercheck.io/execution": "run",
    "supercheck.io/execution-uid": "uid-1",
    "supercheck.io/queue": "default",
    "supercheck.io/test": "login",
}


def job_of(run: TestExecution) -> Raw:
    return job(run, run.spec.tests[0])


def pod_of(template: Raw | None = None, **test: Any) -> Raw:
    login = {"name": "login", "image": "image:1"} | test
    manifest = job_of(execution(login, template=template))
    pod: Raw = manifest["spec"]["template"]["spec"]
    return pod


def container_of(template: Raw | None = None, **test: Any) -> Raw:
    container: Raw = pod_of(template, **test)["containers"][0]
    return container


# Names -------------------------------------------------------------------------------------------

dns_labels = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True)


@given(name=dns_labels, test=dns_labels, uid=st.uuids(), attempt=st.integers(1, 11))
def test_a_job_name_is_a_dns_label_and_always_the_same(
    name: str, test: str, uid: object, attempt: int
) -> None:
    run = execution(test, name=name, uid=str(uid))
    first = job_name_of(run, test, attempt)
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", first)
    assert first == job_name_of(run, test, attempt)


def test_the_name_of_an_execution_may_have_dots() -> None:
    assert job_name_of(execution(name="v1.2"), "login").startswith("v1-2-login-")


def test_a_long_name_is_cut_where_it_stays_a_name() -> None:
    name = job_name_of(execution(name="a" * 51 + "-b"), "login")
    assert re.fullmatch(r"a{51}-[0-9a-f]{10}", name)


def test_names_that_read_alike_do_not_collide() -> None:
    first, second = execution("c", name="a-b", uid="u1"), execution("b-c", name="a", uid="u2")
    assert job_name_of(first, "c") != job_name_of(second, "b-c")


def test_long_names_that_differ_at_their_end_do_not_collide() -> None:
    run = execution(name="a" * 63)
    assert job_name_of(run, "one") != job_name_of(run, "two")


def test_a_recreated_namesake_gets_jobs_of_its_own() -> None:
    assert job_name_of(execution(uid="old"), "login") != job_name_of(execution(uid="new"), "login")


def test_each_attempt_has_a_job_of_its_own() -> None:
    run = execution()
    assert job_name_of(run, "login") == job_name_of(run, "login", 1)
    assert job_name_of(run, "login", 1) != job_name_of(run, "login", 2)


# The Job -----------------------------------------------------------------------------------------


def test_a_job_carries_only_our_labels_and_no_annotation() -> None:
    template = {"metadata": {"labels": {"team": "a"}, "annotations": {"note": "b"}}}
    metadata = job_of(execution(template=template))["metadata"]
    assert metadata["labels"] == OURS
    assert metadata.keys() == {"name", "namespace", "labels", "ownerReferences"}


def test_a_job_is_owned_by_its_execution_and_blocks_no_deletion() -> None:
    metadata = job_of(execution())["metadata"]
    assert metadata["namespace"] == "team-a"
    assert metadata["ownerReferences"] == [
        {
            "apiVersion": "supercheck.io/v1alpha1",
            "kind": "TestExecution",
            "name": "run",
            "uid": "uid-1",
            "controller": True,
            "blockOwnerDeletion": False,
        }
    ]


def test_a_job_makes_one_pod_and_never_another() -> None:
    spec = job_of(execution())["spec"]
    assert (spec["backoffLimit"], spec["completions"], spec["parallelism"]) == (0, 1, 1)
    assert spec["podReplacementPolicy"] == "Failed"
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    assert pod_of({"spec": {"restartPolicy": "Always"}})["restartPolicy"] == "Never"


def test_the_pod_carries_our_labels_over_those_of_the_template() -> None:
    labels = {"team": "a", "supercheck.io/test": "someone-else"}
    manifest = job_of(execution(template={"metadata": {"labels": labels}}))
    assert manifest["spec"]["template"]["metadata"]["labels"] == OURS | {"team": "a"}


# The restricted Pod Security profile -------------------------------------------------------------


def test_a_pod_is_restricted_unless_its_template_says_otherwise() -> None:
    pod = pod_of()
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert pod["containers"][0]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }


def test_sidecars_and_init_containers_are_restricted_too() -> None:
    pod = pod_of({"spec": {"containers": [{"name": "a"}], "initContainers": [{"name": "b"}]}})
    for container in (pod["containers"][1], pod["initContainers"][0]):
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["securityContext"]["allowPrivilegeEscalation"] is False


def test_a_template_may_loosen_what_it_names_and_nothing_else() -> None:
    spec: Raw = {
        "automountServiceAccountToken": True,
        "securityContext": {"runAsNonRoot": False},
        "containers": [{"name": "test", "securityContext": {"allowPrivilegeEscalation": True}}],
    }
    pod = pod_of({"spec": spec})
    assert pod["automountServiceAccountToken"] is True
    assert pod["securityContext"]["runAsNonRoot"] is False
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    context = pod["containers"][0]["securityContext"]
    assert context == {"allowPrivilegeEscalation": True, "capabilities": {"drop": ["ALL"]}}


# The test's container ----------------------------------------------------------------------------


def test_the_test_says_what_its_container_runs() -> None:
    said: Raw = {
        "command": ["sh", "-c"],
        "args": ["exit 0"],
        "env": [
            {"name": "A", "value": "1"},
            {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        ],
        "envFrom": [{"configMapRef": {"name": "c"}}],
        "resources": {"limits": {"memory": "1Gi", "cpu": 2}},
    }
    container = container_of(**said, timeoutSeconds=5)
    policy = {"terminationMessagePolicy": "FallbackToLogsOnError"}
    assert container == said | policy | {
        "name": "test",
        "image": "image:1",
        "securityContext": container["securityContext"],
    }


def test_the_template_is_laid_under_the_test() -> None:
    under = {"name": "test", "image": "other", "tty": True, "terminationMessagePolicy": "File"}
    spec = {"nodeSelector": {"disk": "ssd"}, "containers": [{"name": "proxy"}, under]}
    pod = pod_of({"spec": spec})
    assert pod["nodeSelector"] == {"disk": "ssd"}
    assert [c["name"] for c in pod["containers"]] == ["test", "proxy"]
    assert pod["containers"][0]["image"] == "image:1"
    assert pod["containers"][0]["tty"] is True
    assert pod["containers"][0]["terminationMessagePolicy"] == "File"


def test_a_template_is_not_changed_by_what_is_made_of_it() -> None:
    template: Raw = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "x"}]}}
    before = json.dumps(template)
    run = execution(template=template)
    assert job_of(run) == job_of(run)
    assert json.dumps(run.spec.template) == before


def test_an_init_container_tells_the_end_of_its_output_unless_it_says_otherwise() -> None:
    quiet = {"name": "quiet", "terminationMessagePolicy": "File"}
    pod = pod_of({"spec": {"initContainers": [{"name": "prepare"}, quiet]}})
    policies = [container["terminationMessagePolicy"] for container in pod["initContainers"]]
    assert policies == ["FallbackToLogsOnError", "File"]


# Scripts -----------------------------------------------------------------------------------------


def test_a_script_is_mounted_read_only_and_never_in_the_pods_own_text() -> None:
    manifest = job_of(execution({"name": "login", "image": "image:1", "script": "echo s3cret"}))
    pod = manifest["spec"]["template"]["spec"]
    [mount] = pod["containers"][0]["volumeMounts"]
    assert mount == {
        "name": "supercheck-script",
        "mountPath": "/supercheck/script",
        "subPath": "script",
        "readOnly": True,
    }
    [volume] = pod["volumes"]
    assert volume["name"] == "supercheck-script"
    assert volume["configMap"]["name"] == manifest["metadata"]["name"]
    assert "s3cret" not in json.dumps(manifest)


def test_a_script_keeps_the_volumes_and_mounts_of_the_template() -> None:
    spec = {
        "volumes": [{"name": "data"}],
        "containers": [{"name": "test", "volumeMounts": [{"name": "data", "mountPath": "/d"}]}],
    }
    pod = pod_of({"spec": spec}, script="x")
    assert [v["name"] for v in pod["volumes"]] == ["data", "supercheck-script"]
    mounts = pod["containers"][0]["volumeMounts"]
    assert [m["name"] for m in mounts] == ["data", "supercheck-script"]


def test_an_empty_script_is_a_script_and_no_script_mounts_nothing() -> None:
    assert "volumes" in pod_of(script="")
    assert "volumes" not in pod_of()
    assert "volumeMounts" not in container_of()


def test_the_config_map_of_a_script_has_the_name_and_the_owner_of_its_job() -> None:
    run = execution()
    made = script_config_map(run, "login", "echo hi")
    assert made["data"] == {"script": "echo hi"}
    assert made["immutable"] is True
    assert made["metadata"] == job_of(run)["metadata"]


# Templates that are none -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "field"),
    [
        ({"metadata": "x"}, "metadata must be an object"),
        ({"metadata": {"labels": ["x"]}}, "labels must be an object"),
        ({"spec": []}, "spec must be an object"),
        ({"spec": {"containers": {}}}, "containers must be a list of objects"),
        ({"spec": {"containers": ["x"]}}, "containers must be a list of objects"),
        ({"spec": {"initContainers": "x"}}, "initContainers must be a list of objects"),
        ({"spec": {"securityContext": 1}}, "securityContext must be an object"),
        (
            {"spec": {"containers": [{"name": "x", "securityContext": 1}]}},
            "securityContext must be an object",
        ),
        ({"spec": {"volumes": {}}}, "volumes must be a list of objects"),
        (
            {"spec": {"containers": [{"name": "test", "volumeMounts": 1}]}},
            "volumeMounts must be a list of objects",
        ),
    ],
)
def test_a_template_of_the_wrong_shape_is_named(template: Raw, field: str) -> None:
    with pytest.raises(InvalidTemplateError, match=rf"^spec\.template: {field}$"):
        pod_of(template, script="x")


def test_a_null_in_a_template_is_as_good_as_nothing() -> None:
    spec = {"containers": None, "initContainers": None, "securityContext": None}
    assert pod_of({"metadata": None, "spec": spec})["initContainers"] == []


def test_a_template_nested_too_deep_to_handle_is_invalid() -> None:
    deep: Raw = {}
    for _ in range(900):
        deep = {"spec": deep}
    with pytest.raises(InvalidTemplateError):
        pod_of({"spec": {"affinity": deep}})


fields = st.sampled_from(
    (
        "metadata",
        "labels",
        "spec",
        "containers",
        "initContainers",
        "volumes",
        "securityContext",
        "volumeMounts",
        "name",
    )
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(fields, inner, max_size=4),
    max_leaves=12,
)


@given(template=st.dictionaries(st.sampled_from(["metadata", "spec"]), json_values))
def test_any_template_makes_one_unrestarted_pod_or_is_invalid(template: Raw) -> None:
    try:
        manifest = job_of(execution(template=template))
    except InvalidTemplateError:
        return
    pod = manifest["spec"]["template"]["spec"]
    assert manifest["metadata"]["labels"] == OURS
    assert manifest["spec"]["template"]["metadata"]["labels"].items() >= OURS.items()
    assert pod["restartPolicy"] == "Never"
    assert pod["containers"][0]["name"] == "test"
