"""Several tests of one execution in real containers; every cause of an end is in test_causes.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from e2e.conftest import Namespace, Raw


def test_several_tests_run_at_most_so_many_at_once_and_tell_their_results_in_order(
    namespace: Namespace, image: str
) -> None:
    slow: Raw = {"name": "slow", "image": image, "command": ["sleep", "600"], "timeoutSeconds": 3}
    broken: Raw = {"name": "broken", "image": image, "args": ["test_broken.py"]}
    checkout: Raw = {"name": "checkout", "image": image, "args": ["test_checkout.py"]}

    with namespace.pods() as pods:
        name = namespace.submit("shop", slow, broken, checkout, maxConcurrentTests=2)
        pods.until_ended(3)
    status = namespace.finished(name)

    assert pods.peak == 2
    assert status["phase"] == "Failed"
    assert [(t["name"], t["phase"], t.get("reason")) for t in status["tests"]] == [
        ("slow", "Failed", "TestTimeout"),
        ("broken", "Failed", "TestFailed"),
        ("checkout", "Passed", None),
    ]
    assert status["summary"]["passed"] == 1
    assert status["summary"]["failed"] == 2
    assert "1 of 3 tests passed" in status["message"]
    namespace.wait("delete", f"pod/{status['tests'][0]['pod']}")
