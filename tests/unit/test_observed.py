from __future__ import annotations

from datetime import timedelta

from tests.unit.builders import (
    COMPLETE,
    FAILED,
    NOW,
    Raw,
    at,
    job,
    pod,
    raw_job,
    raw_pod,
    running_pod,
    terminated,
    when,
)

from supercheck_operator.execution.observed import format_time, parse_job, parse_pod, parse_time


def test_times_are_written_as_kubernetes_writes_them() -> None:
    assert format_time(NOW) == "2026-03-01T12:00:00Z"
    assert parse_time(format_time(NOW)) == NOW
    assert parse_time(None) is None


def test_a_job_says_whose_it_is_by_our_labels() -> None:
    identity = job("login", execution_uid="uid-7", version=12).id
    assert identity.execution_uid == "uid-7"
    assert (identity.queue, identity.test, identity.version) == ("default", "login", 12)
    assert identity.created == at(-30)
    assert not identity.deleting


def test_an_object_without_labels_is_nobodys() -> None:
    raw = raw_job()

    raw["metadata"]["labels"] = None
    assert parse_job(raw).id.execution_uid == ""


def test_a_job_is_owned_by_its_own_execution_only() -> None:
    assert job().owned
    assert not job(owned=False).owned
    adopted = raw_job()
    adopted["metadata"]["ownerReferences"] = [{"kind": "TestExecution", "uid": "another"}]
    assert not parse_job(adopted).owned


def test_a_job_is_finished_by_its_own_word_only() -> None:
    assert not job().finished
    assert not job(condition={"type": "Suspended"}).finished
    assert not job(condition=COMPLETE | {"status": "False"}).finished
    complete, failed = job(condition=COMPLETE), job(condition=FAILED)
    assert complete.finished
    assert (failed.finished, failed.reason, failed.message) == (
        True,
        "BackoffLimitExceeded",
        "it is not",
    )


def test_a_failed_job_without_a_reason_is_not_taken_for_a_complete_one() -> None:
    assert job(condition={"type": "Complete"}).reason == ""
    assert job(condition={"type": "Failed"}).reason != ""


def test_the_deletion_was_asked_for_before_the_grace_began() -> None:
    deleted = pod(deletion=-5, grace=30)
    assert deleted.id.deleting
    assert deleted.delete_requested == at(-5)
    raw = raw_pod(deletion=-5, grace=30)
    raw["metadata"]["deletionGracePeriodSeconds"] = None
    assert parse_pod(raw).delete_requested == at(25)
    assert pod().delete_requested is None


def test_a_grace_of_which_no_date_can_be_made_is_taken_for_a_year() -> None:
    raw = raw_pod(deletion=0, grace=0)
    raw["metadata"]["deletionGracePeriodSeconds"] = 10**14
    assert parse_pod(raw).delete_requested == at(0) - timedelta(days=366)


def test_a_pod_without_owner_or_status_is_a_pending_one_of_no_job() -> None:
    raw = raw_pod()
    assert pod().id.attempt == job().id.attempt == 1
    del raw["status"], raw["metadata"]["ownerReferences"]
    assert parse_pod(raw).id.attempt == 0
    assert parse_pod(raw).phase == "Pending"
    assert not parse_pod(raw).terminal


def test_only_the_container_named_test_decides() -> None:
    sidecar = {"name": "proxy", "state": terminated(9)}
    seen = pod(state=terminated(0, reason="Completed"), containers=[sidecar])
    assert (seen.exit_code, seen.exit_reason) == (0, "Completed")
    assert (seen.started, seen.finished) == (at(-10), at(-1))
    assert not seen.others_open
    assert pod(containers=[sidecar]).exit_code is None


def test_a_sidecar_that_goes_on_holds_the_pod_open() -> None:
    assert pod(state=terminated(0), containers=[{"name": "proxy", "state": None}]).others_open


def test_a_running_container_has_started_and_not_ended() -> None:
    seen = running_pod(since=-10)
    assert (seen.started, seen.finished, seen.exit_code) == (at(-10), None, None)


def test_a_container_that_never_ran_has_not_started_in_1970() -> None:
    state = {"exitCode": 128, "reason": "StartError", "startedAt": "1970-01-01T00:00:00Z"}
    seen = pod(state={"terminated": state | {"finishedAt": when(-1)}})
    assert seen.started is None
    assert seen.exit_code == 128


def test_what_an_init_container_waits_for_is_what_the_pod_waits_for() -> None:
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    ready: Raw = {"name": "ready", "state": None}
    seen = pod(initContainerStatuses=[ready, {"name": "next", "state": waiting}])
    assert (seen.waiting_reason, seen.waiting_message) == ("ImagePullBackOff", "no such image")
    assert pod(state={"waiting": {"reason": "ErrImagePull"}}).waiting_reason == "ErrImagePull"
    assert pod(initContainerStatuses=[{"name": "ready"}]).waiting_reason == ""


def test_a_pod_is_unschedulable_only_while_the_scheduler_says_so() -> None:
    scheduled = {"type": "PodScheduled", "status": "False"}
    assert pod(conditions=[scheduled]).unschedulable == "no node fits"
    assert pod(conditions=[scheduled | {"message": "0/3 nodes"}]).unschedulable == "0/3 nodes"
    assert pod(conditions=[scheduled | {"status": "True"}]).unschedulable == ""


def test_a_pod_is_disrupted_only_if_the_condition_is_true() -> None:
    target = {"type": "DisruptionTarget", "reason": "PreemptionByScheduler", "message": "preempted"}
    seen = pod(conditions=[target | {"status": "True"}])
    assert (seen.disruption, seen.disruption_message) == ("PreemptionByScheduler", "preempted")
    assert pod(conditions=[target | {"status": "False"}]).disruption == ""


def test_a_pod_has_ended_by_its_phase_and_is_terminal_also_when_gone() -> None:
    assert pod(phase="Succeeded").ended
    assert pod(phase="Failed").terminal
    assert not pod(phase="Unknown").terminal


def test_nothing_starts_before_its_pod_exists_whatever_its_nodes_clock_says() -> None:
    assert running_pod(created=-29, since=-3600).started == at(-29)


def test_a_pod_belongs_to_the_attempt_whose_job_it_has() -> None:
    assert pod(attempt=3).id.attempt == job(attempt=3).id.attempt == 3
    assert pod(attempt=11).id.attempt == 11
    assert pod(attempt=12).id.attempt == 0
