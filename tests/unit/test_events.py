from __future__ import annotations

from tests.unit.builders import NOW, execution

from supercheck_operator.execution.assess import Assessment
from supercheck_operator.reporting.events import event, worth_telling
from supercheck_operator.resources import Phase, Reason

OOM = Assessment(Phase.ERROR, Reason.OOM_KILLED, "The container used too much.", (), attempts=1)
STUCK = Assessment(
    Phase.RUNNING, Reason.STARTING, "no such image", (), trouble=Reason.IMAGE_PULL_FAILED
)


def test_an_event_is_for_what_went_wrong() -> None:
    assert worth_telling(OOM)
    assert worth_telling(STUCK)
    assert worth_telling(Assessment(Phase.CANCELLED, Reason.CANCELLED_BY_USER, "", ()))
    assert not worth_telling(Assessment(Phase.FAILED, Reason.TEST_FAILED, "", ()))
    assert not worth_telling(Assessment(Phase.PASSED, None, None, ()))
    assert not worth_telling(Assessment(Phase.RUNNING, Reason.RUNNING, None, ()))


def test_an_event_says_what_happened_to_which_object() -> None:
    told = event(execution(), OOM, NOW, "operator-1")
    assert (told["type"], told["reason"], told["action"]) == ("Warning", "OOMKilled", "Finish")
    assert told["note"] == "The container used too much."
    assert told["regarding"]["uid"] == "uid-1"
    assert told["metadata"]["namespace"] == "team-a"
    assert told["eventTime"] == "2026-03-01T12:00:00.000000Z"
    assert told["reportingInstance"] == "operator-1"


def test_trouble_at_the_start_has_its_own_reason() -> None:
    told = event(execution(), STUCK, NOW, "operator-1")
    assert (told["reason"], told["action"]) == ("ImagePullFailed", "Start")


def test_the_same_is_told_under_the_same_name() -> None:
    def name(assessment: Assessment, uid: str = "uid-1") -> str:
        told: str = event(execution(uid=uid), assessment, NOW, "x")["metadata"]["name"]
        return told

    assert name(OOM) == name(OOM)
    again = Assessment(Phase.ERROR, Reason.OOM_KILLED, "", (), attempts=2)
    assert len({name(OOM), name(again), name(STUCK), name(OOM, uid="uid-2")}) == 4


def test_a_long_note_keeps_its_end_and_a_long_name_its_digest() -> None:
    assessment = Assessment(Phase.ERROR, Reason.INTERNAL, "€" * 2000 + "the end", ())
    told = event(execution(name="n" * 253), assessment, NOW, "x")
    assert told["note"].startswith("…")
    assert told["note"].endswith("€the end")
    assert len(told["note"].encode()) < 1024
    assert len(told["metadata"]["name"]) <= 253


def test_an_event_without_words_says_its_reason() -> None:
    assert event(execution(), Assessment(Phase.ERROR, Reason.INTERNAL, None, ()), NOW, "x")[
        "note"
    ] == ("Internal")
