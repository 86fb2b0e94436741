"""Plays a story on a cluster in memory, with the real operator, in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any, Final

from tests.simulation.api import Api, Client, Weather
from tests.simulation.cluster import EXECUTIONS, JOBS, PODS, QUEUES, Cluster
from tests.simulation.fates import Fate
from tests.simulation.life import Life
from tests.simulation.loop import NothingWillHappenError, VirtualLoop
from tests.simulation.story import QUEUE_NAMES, Event, Plan, Story, What
from tests.simulation.truth import Truth

from supercheck_operator.admission.review import Submission
from supercheck_operator.ledger.capacity import Occupancy
from supercheck_operator.resources import (
    LABEL_EXECUTION_UID,
    LABEL_TEST,
    Phase,
    Raw,
    Reason,
    StopPolicy,
)
from supercheck_operator.settings import Settings

SETTINGS: Final = Settings(test_execution_timeout_ms=30_000, job_ttl_seconds=20)
_TRIES: Final = 20
"""How often a submission that is refused is made again."""
_LONGEST_RESTART: Final = 5.0
_JUMPS: Final = (5, -5, 20, -20, 100, -100, 3600, -3600)
"""Seconds by which a clock is set."""
_FOUND_WITHIN: Final = timedelta(seconds=3)
"""How exactly the operator knows the time of the API server where its own is another."""
_TIMEOUTS: Final = (Reason.START_TIMEOUT, Reason.EXECUTION_TIMEOUT, Reason.TEST_TIMEOUT)
_LEAVES_NOTHING: Final = (Fate.VANISHES, Fate.REPLACED, Fate.NODE_LOST)
_TOLD_ELSEWHERE: Final = ("template", "summary", "progress", "observedGeneration")
_LIMIT: Final = 1500.0
"""Seconds in which everything comes to its end once nothing interferes any more."""


class Violation(AssertionError):  # noqa: N818 - the test's own word for a failure
    """Something that must not be, and how it came about."""


class Simulation:
    """One story; ``told`` says afterwards what has happened in it, for a person to read."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.trace: list[tuple[float, str, Any]] = []
        self.violation: str | None = None
        self.kills = 0
        self.noise = random.Random(story.noise)
        self.loop = VirtualLoop()
        self.loop.set_exception_handler(self._callback_failed)
        self.api = Api(self.loop, self.noise)
        self.fates: dict[str, dict[str, tuple[Fate, ...]]] = {}
        self.cluster = Cluster(self.api, self.noise, lambda uid, test: self.fates[uid][test])
        self.truth = Truth(self.api, self.cluster, blindness=self._blindness, fail=self.fail)
        self.api.listeners.append(self._traced)
        self.skew = timedelta()
        """How far the clock of the operator's machine is ahead of everybody else's."""
        self.jumped = 0.0
        self.away = False
        """The API server was: what came and went meanwhile, nobody has seen."""
        self.blind = 0.0
        """Seconds in which the operator could neither ask nor watch."""
        self.submitted: dict[str, Plan] = {}
        """By UID: what was admitted and stored."""
        self.touched: set[str] = set()
        """UIDs of those to whom something was done, so that their fate alone says nothing."""
        self.drained: set[str] = set()
        self.life: Life | None = None
        """That of who leads, or was the last to."""
        self._standby: Life | None = None
        self._fuse: int | None = None
        self._users: set[asyncio.Task[None]] = set()

    def play(self) -> None:
        """Raises Violation."""
        playing = self._playing = self.loop.create_task(self._play())
        chance = random.getstate()
        random.seed(self.story.noise)  # the operator's own jitter
        try:
            self.loop.run_until_complete(asyncio.wait({playing}))
        except NothingWillHappenError as error:
            self.fail(str(error))
        finally:
            random.setstate(chance)
            self._close()
        if self.violation is not None:
            raise Violation(self.violation)
        playing.result()

    def fail(self, told: str) -> None:
        """The first violation counts; it ends the story."""
        if self.violation is None:
            self.violation = f"at {self.loop.time():.3f} s: {told}"
            self._playing.cancel()

    def _close(self) -> None:
        for life in self._lives():
            life.kill()
        if tasks := asyncio.all_tasks(self.loop):
            for task in tasks:
                task.cancel()
            self.loop.run_until_complete(asyncio.wait(tasks))
        self.loop.close()

    def _callback_failed(self, _: object, context: dict[str, Any]) -> None:
        self.fail(f"{context['message']}: {context.get('exception')!r}")

    # The story -----------------------------------------------------------------------------------

    async def _play(self) -> None:
        for name, spec in zip(QUEUE_NAMES, self.story.queues, strict=True):
            self.api.create(QUEUES, {"metadata": {"name": name}, "spec": dict(spec), "status": {}})
        self._begin_life()
        for number, plan in enumerate(self.story.plans):
            self._users.add(self.loop.create_task(self._submit(plan, f"run-{number}")))
        for event in self.story.events:
            await asyncio.sleep(event.after * (0.5 + self.noise.random()))
            self._note("", event)
            self._happen(event)
        await self._heal()
        await self._until_quiet()
        self._check_end()

    def _begin_life(self) -> None:
        if self.life is not None and self.life.alive:
            return
        self.truth.restarted()
        self.life = self._standby or self._new_life()
        self.life.lead()
        self._standby = self._new_life() if self.story.standby else None
        self._note("the operator leads")

    def _new_life(self) -> Life:
        client = Client(self.api, self._landed, self.noise, self._operators_now)
        life = Life(self.api, client, SETTINGS, self.noise, self.fail)
        life.weather = client.weather = self.story.weather
        return life

    def _lives(self) -> list[Life]:
        return [life for life in (self.life, self._standby) if life is not None]

    def _one_life(self, event: Event) -> Life:
        lives = self._lives()
        return lives[event.whom % len(lives)]

    def _operators_now(self) -> datetime:
        return self.api.now() + self.skew

    def _blindness(self) -> float:
        """Seconds: a sweep comes every 30 s, and takes a while, or comes to nothing."""
        weather = self.story.weather
        if not weather.lost and not weather.late and not weather.failing and not self.blind:
            return 8.0
        return 60.0 + 3 * self.blind

    async def _submit(self, plan: Plan, name: str) -> None:
        await asyncio.sleep(plan.at)
        for _ in range(_TRIES):
            uid = self.api.new_uid("x")
            raw = self._raw(plan, name, uid)
            life = self.life
            if life is not None and life.alive:
                submission = Submission(f"review-{uid}", plan.namespace, dry_run=False, raw=raw)
                answer = await life.admitter.judge(submission)
                await asyncio.sleep(self.noise.random() * 0.05)
                lost = self.noise.random() < self.story.weather.failing
                if answer.allowed and not lost:
                    self.submitted[uid] = plan
                    self.fates[uid] = {
                        test: (fate, plan.again) for test, fate in _tests(plan).items()
                    }
                    self.api.create(EXECUTIONS, raw)
                    return
            await asyncio.sleep(2.0)

    def _raw(self, plan: Plan, name: str, uid: str) -> Raw:
        script: Raw = {"script": "true"} if plan.script else {}
        return {
            "metadata": {"name": name, "namespace": plan.namespace, "uid": uid},
            "spec": {
                "queue": QUEUE_NAMES[plan.queue],
                "startTimeoutSeconds": 15,
                "tests": [{"name": test, "image": "image:1"} | script for test in _tests(plan)],
            }
            | dict(plan.spec),
            "status": {"phase": "Queued", "observedGeneration": -1},
        }

    # Events --------------------------------------------------------------------------------------

    def _happen(self, event: Event) -> None:
        act: dict[What, Callable[[Event], None]] = {
            What.SET_CAPACITY: lambda e: self._change_queue(e, runningCapacity=e.number % 4),
            What.HOLD: lambda e: self._change_queue(e, stopPolicy=StopPolicy.HOLD.value),
            What.DRAIN: lambda e: self._change_queue(e, stopPolicy=StopPolicy.HOLD_AND_DRAIN.value),
            What.CLOSE: lambda e: self._change_queue(e, stopPolicy=StopPolicy.CLOSED.value),
            What.OPEN: lambda e: self._change_queue(e, stopPolicy=StopPolicy.NONE.value),
            What.KILL: lambda _: self._kill(),
            What.KILL_AT_A_REQUEST: self._light_the_fuse,
            What.LOSE_THE_WATCH: self._lose_the_watch,
            What.OUTAGE: self._outage,
            What.API_SERVER_AWAY: self._api_server_away,
            What.CLOCK_JUMPS: self._jump,
        }
        if event.what in act:
            act[event.what](event)
        elif executions := list(self.api.objects[EXECUTIONS].values()):
            self._interfere(event, executions[event.whom % len(executions)])

    def _interfere(self, event: Event, execution: Raw) -> None:
        uid = execution["metadata"]["uid"]
        wishes: dict[What, Raw] = {
            What.CANCEL: {"cancel": True},
            What.SUSPEND: {"suspend": True},
            What.RESUME: {"suspend": False},
            What.PRIORITIZE: {"priority": event.number},
        }
        if event.what is What.ANNOTATE:
            self.api.replace(EXECUTIONS, execution, {"annotations": {"seen": "yes"}})
        elif event.what in wishes:
            self._change(execution, wishes[event.what])
        elif event.what in (What.DELETE_POD, What.DELETE_POD_BY_FORCE):
            for pod in _one(self.cluster.of_execution(PODS, uid), event.number):
                grace = 0 if event.what is What.DELETE_POD_BY_FORCE else 5
                self.cluster.delete_pod(pod, grace=grace)
        elif event.what in (What.DELETE, What.DELETE_SLOWLY, What.DELETE_LEAVING_JOBS):
            self._delete_execution(event, execution)
        else:
            for job in _one(self.cluster.of_execution(JOBS, uid), event.number):
                self._delete_job(event.what, job)
        if event.what not in (What.ANNOTATE, What.RESUME, What.PRIORITIZE):
            self.touched.add(uid)

    def _delete_execution(self, event: Event, execution: Raw) -> None:
        match event.what:
            case What.DELETE:
                self.api.remove(EXECUTIONS, execution)
            case What.DELETE_SLOWLY:
                self.cluster.delete_slowly(EXECUTIONS, execution, seconds=2.0 * event.number)
            case What.DELETE_LEAVING_JOBS:
                self.cluster.orphan(EXECUTIONS, execution)

    def _delete_job(self, what: What, job: Raw) -> None:
        match what:
            case What.DELETE_JOB:
                self.api.remove(JOBS, job)
            case What.DELETE_JOB_SLOWLY:
                self.cluster.delete_slowly(JOBS, job, seconds=3.0)
            case What.DELETE_JOB_LEAVING_PODS:
                self.cluster.orphan(JOBS, job)

    def _change(self, execution: Raw, wish: Raw) -> None:
        changed = execution["spec"] | wish
        if changed != execution["spec"]:
            generation = execution["metadata"]["generation"] + 1
            self.api.replace(EXECUTIONS, execution, {"generation": generation}, spec=changed)

    def _change_queue(self, event: Event, **spec: Any) -> None:
        name = QUEUE_NAMES[event.whom % len(QUEUE_NAMES)]
        queue = self.api.get(QUEUES, ("", name))
        if spec.get("stopPolicy") == StopPolicy.HOLD_AND_DRAIN.value:
            self.drained.add(name)
        self.api.replace(QUEUES, queue, spec=queue["spec"] | spec)

    def _kill(self) -> None:
        if self.life is not None and self.life.alive:
            self._note("kill -9")
            self.kills += 1
            self.life.kill()
            # What it has sent is in the API server before anything can have started anew.
            pause = 1.1 + (_LONGEST_RESTART - 1.2) * self.noise.random()
            self.loop.call_later(pause, self._begin_life)

    def _light_the_fuse(self, event: Event) -> None:
        self._fuse = event.number

    def _landed(self, verb: str, _: str) -> None:
        if verb in ("get", "list") or self._fuse is None:
            return
        self._fuse -= 1
        if self._fuse < 0:
            self._fuse = None
            self._kill()

    def _lose_the_watch(self, event: Event) -> None:
        life = self._one_life(event)
        if life.watching:
            life.end_watch()
            self.blind += 0.3 + 2.0 * event.number
            self.loop.call_later(0.3 + 2.0 * event.number, life.begin_watch)

    def _outage(self, event: Event) -> None:
        life = self._one_life(event)
        seconds = 0.3 + 3.0 * event.number
        self.blind += seconds
        life.client.outage = True
        self.loop.call_later(seconds, setattr, life.client, "outage", False)

    def _api_server_away(self, event: Event) -> None:
        seconds = 0.3 + 2.0 * event.number
        self.away = True
        self.blind += seconds
        self.cluster.lose_answers(seconds)
        for life in self._lives():
            life.client.outage = True
            self.loop.call_later(seconds, setattr, life.client, "outage", False)
            if life.watching:
                life.end_watch()
                self.loop.call_later(seconds, life.begin_watch)

    def _jump(self, event: Event) -> None:
        seconds = _JUMPS[event.number % len(_JUMPS)]
        if event.whom % 2:
            self.jumped += abs(seconds)
            self.truth.clock_error += timedelta(seconds=abs(seconds))
            self.api.clock += timedelta(seconds=seconds)
        else:
            self.skew += timedelta(seconds=seconds)
            self.truth.clock_error = max(self.truth.clock_error, _FOUND_WITHIN)

    # The end -------------------------------------------------------------------------------------

    async def _heal(self) -> None:
        """From now on nobody does anything, and everything works."""
        self._fuse = None
        await asyncio.gather(*self._users)
        for queue in list(self.api.objects[QUEUES].values()):
            spec = queue["spec"] | {"stopPolicy": "None"}
            spec["runningCapacity"] = max(1, spec["runningCapacity"])
            self.api.replace(QUEUES, queue, spec=spec)
        self.cluster.remove_orphans()
        if self.life is None or not self.life.alive:
            await asyncio.sleep(_LONGEST_RESTART)
        assert self.life is not None
        for life in self._lives():
            life.client.weather = life.weather = Weather()
            life.client.outage = False
        self._note("all is well")

    async def _until_quiet(self) -> None:
        limit = self.loop.time() + _LIMIT + self.jumped * self.story.tests
        while restless := await self._restless():
            if self.loop.time() > limit:
                self.fail(f"no end is reached: {restless}")
            await asyncio.sleep(5.0)

    async def _restless(self) -> str:
        """What is not as it is to be when all is over; empty when it is."""
        if self.life is None or not self.life.watching or not self.life.leads:
            return "the operator is not ready"
        return self._unfinished() or self._alive() or await self._miscounted(self.life)

    def _unfinished(self) -> str:
        for raw in self.api.objects[EXECUTIONS].values():
            metadata = raw["metadata"]
            parked = raw["spec"].get("suspend") and metadata["uid"] not in self.truth.started
            if not Phase(raw["status"]["phase"]).final and not parked:
                return f"{metadata['name']} is {raw['status']['phase']}"
            if "deletionTimestamp" in metadata:
                return f"{metadata['name']} is to be deleted"
        return ""

    def _alive(self) -> str:
        for job in self.api.objects[JOBS].values():
            if self.cluster.alive(job) or not job.get("status"):
                return f"Job {job['metadata']['name']} is alive"
        for pod in self.api.objects[PODS].values():
            labels = pod["metadata"]["labels"]
            if labels[LABEL_TEST] in self.cluster.live_tests(labels[LABEL_EXECUTION_UID]):
                return f"pod {pod['metadata']['name']} is alive"
        return ""

    async def _miscounted(self, life: Life) -> str:
        for queue in life.queues:
            if queue.running or queue.waiting:
                return f"queue {queue.name} counts {queue.running} running, {queue.waiting} waiting"
        parked = Counter(
            raw["spec"]["queue"]
            for raw in self.api.objects[EXECUTIONS].values()
            if not Phase(raw["status"]["phase"]).final
        )
        if len(life.reconciler.world) != parked.total():
            return f"{len(life.reconciler.world)} runs are remembered, {parked} wait"
        for name in QUEUE_NAMES:
            counted = await life.ledger.occupancy(name)
            if counted != Occupancy(parked=parked[name]):
                return f"the ledger counts {counted} in {name}, {parked[name]} are suspended"
        return self._ends_miscounted(life)

    def _ends_miscounted(self, life: Life) -> str:
        """What was deleted as soon as its end was written, nobody may have seen end."""
        ended = Counter(phase.value for phase in self.truth.finals.values())
        statuses = [raw["status"] for raw in self.api.objects[EXECUTIONS].values()]
        to_be_seen = Counter(s["phase"] for s in statuses if Phase(s["phase"]).final)
        counted = life.finished()
        if counted - ended or (self.kills == 0 and to_be_seen - counted):
            return f"{dict(counted)} are counted as ended, {dict(ended)} have"
        return ""

    def _check_end(self) -> None:
        for raw in self.api.objects[EXECUTIONS].values():
            self._check_verdict(raw)

    def _check_verdict(self, raw: Raw) -> None:
        """Where only one thing has happened, it is what is told."""
        uid, status = raw["metadata"]["uid"], raw["status"]
        plan = self.submitted[uid]
        if len(plan.tests) > 1 or self._more_has_happened(raw, plan):
            return
        fates = _fates(plan)
        expected, reason = fates[-1].value.verdict
        if _unseen(fates, status["phase"], status.get("reason")):
            return
        if (status["phase"], status.get("reason")) != (expected, reason):
            told = f"{status['phase']} {status.get('reason')}: {status.get('message')}"
            self.fail(f"{uid} was to be {expected} {reason}, is {told}")
        if status["attempts"] != len(fates):
            self.fail(f"{uid} was to be tried {len(fates)} times, not {status['attempts']}")

    def _more_has_happened(self, raw: Raw, plan: Plan) -> bool:
        """Something besides its fate may decide about it."""
        if raw["metadata"]["uid"] in self.touched or raw["spec"]["queue"] in self.drained:
            return True
        if self.jumped and self.kills:
            return True  # times are compared that have nothing to do with each other
        if self.away and any(fate in _LEAVES_NOTHING for fate in plan.tests):
            return True
        if (self.jumped or self.away) and raw["status"].get("reason") in _TIMEOUTS:
            # What is stamped in the moment a clock is set may be timed by either; and a pod that
            # is asked for again may come too late.
            return True
        fields = dict(plan.spec)
        return bool(fields.keys() & {"queueTimeoutSeconds", "suspend", "timeoutSeconds"})

    # For people ----------------------------------------------------------------------------------

    def _note(self, what: str, of: object = "") -> None:
        self.trace.append((self.loop.time(), what, of))

    def _traced(self, plural: str, before: Raw | None, after: Raw | None) -> None:
        what = "created" if before is None else "gone" if after is None else "changed"
        self._note(f"{plural} {what}:", after or before)

    def told(self) -> str:
        return f"{self.story!r}\n" + "\n".join(
            f"{at:9.3f}  {what} {_brief(of) if isinstance(of, dict) else of}"
            for at, what, of in self.trace
        )


def _brief(raw: Raw) -> str:
    """What may change of an object, in a line."""
    metadata = raw["metadata"]
    known = {k: v for k, v in raw.get("status", {}).items() if k not in _TOLD_ELSEWHERE}
    wishes = {k: v for k, v in raw.get("spec", {}).items() if k not in (*_TOLD_ELSEWHERE, "tests")}
    going = " is to be deleted" if "deletionTimestamp" in metadata else ""
    told = f"{metadata['name']} ({metadata['uid']}) v{metadata['resourceVersion']}{going}"
    return f"{told} {wishes or ''} {known or ''}"


def _tests(plan: Plan) -> dict[str, Fate]:
    return {f"t{number}": fate for number, fate in enumerate(plan.tests)}


def _fates(plan: Plan) -> list[Fate]:
    """What becomes of each attempt at the only test of ``plan``, by the words of its retry."""
    fates = list(plan.tests)
    retry = dict(plan.spec).get("retry", {"limit": 0, "on": []})
    tried = {{"Error": Phase.ERROR, "Failure": Phase.FAILED}[word] for word in retry["on"]}
    while (
        len(fates) <= retry["limit"]
        and fates[-1].value.verdict[0] in tried
        and fates[-1] is not Fate.INVALID
    ):
        fates.append(plan.again)
    return fates


def _unseen(fates: list[Fate], phase: str, reason: str | None) -> bool:
    """Whether what is told differs from what has happened because nobody could see that."""
    if Fate.REPLACED in fates and phase == Phase.PASSED:
        return True  # the first pod
    if Fate.NODE_LOST in fates and reason == Reason.POD_DELETED:
        return True  # why
    hindered = (Reason.IMAGE_PULL_FAILED, Reason.UNSCHEDULABLE)
    return reason == Reason.START_TIMEOUT and fates[-1].value.verdict[1] in hindered  # what by


def _one(objects: Iterable[Raw], number: int) -> list[Raw]:
    """One of ``objects``, if there are any."""
    found = list(objects)
    return [found[number % len(found)]] if found else []
