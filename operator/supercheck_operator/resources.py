"""The two kinds of ``supercheck.io/v1alpha1``, as their users write them.

These models are the only definition: ``crds/*.yaml`` is generated from them (see ``crds.py``), and
admission and controller read objects through them. Durations are whole seconds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

Raw = dict[str, Any]
"""An object as the API server writes it."""

GROUP: Final = "supercheck.io"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
DEFAULT_QUEUE: Final = "default"

LABEL_EXECUTION: Final = f"{GROUP}/execution"
LABEL_EXECUTION_UID: Final = f"{GROUP}/execution-uid"
LABEL_QUEUE: Final = f"{GROUP}/queue"
LABEL_TEST: Final = f"{GROUP}/test"

MAX_TESTS: Final = 100
MAX_RETRIES: Final = 10
SCRIPT_LIMIT: Final = 256 * 1024
"""Largest inline script, in characters; the schema refuses more."""

_DAY = 24 * 60 * 60
_INT32 = 2**31 - 1
QUANTITY_PATTERN: Final = (
    r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))"
    r"(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$"
)


class Phase(StrEnum):
    """Where an execution, or one of its tests, is. Only ever moves forward."""

    QUEUED = "Queued"
    RUNNING = "Running"
    PASSED = "Passed"
    FAILED = "Failed"
    ERROR = "Error"
    CANCELLED = "Cancelled"

    @property
    def final(self) -> bool:
        return self not in (Phase.QUEUED, Phase.RUNNING)


class Reason(StrEnum):
    """Why a phase is what it is; a word a pipeline may match on."""

    WAITING = "Waiting"
    QUEUE_HELD = "QueueHeld"
    SUSPENDED = "Suspended"
    NAMESPACE_AT_CAPACITY = "NamespaceAtCapacity"
    RETRYING = "Retrying"
    RUNNING = "Running"
    STARTING = "Starting"
    TEST_FAILED = "TestFailed"
    TEST_TIMEOUT = "TestTimeout"
    EXECUTION_TIMEOUT = "ExecutionTimeout"
    START_TIMEOUT = "StartTimeout"
    QUEUE_TIMEOUT = "QueueTimeout"
    IMAGE_PULL_FAILED = "ImagePullFailed"
    UNSCHEDULABLE = "Unschedulable"
    OOM_KILLED = "OOMKilled"
    EVICTED = "Evicted"
    NODE_LOST = "NodeLost"
    POD_DELETED = "PodDeleted"
    JOB_DELETED = "JobDeleted"
    QUOTA_EXCEEDED = "QuotaExceeded"
    POD_REJECTED = "PodRejected"
    INVALID_TEMPLATE = "InvalidTemplate"
    INTERNAL = "Internal"
    CANCELLED_BY_USER = "CancelledByUser"
    QUEUE_DRAINED = "QueueDrained"
    FAIL_FAST = "FailFast"

    @property
    def phase(self) -> Phase:
        """The one phase it explains; Passed needs no explanation."""
        return next(phase for phase, reasons in REASONS.items() if self in reasons)


REASONS: Final[Mapping[Phase, tuple[Reason, ...]]] = {
    Phase.QUEUED: (
        Reason.WAITING,
        Reason.QUEUE_HELD,
        Reason.SUSPENDED,
        Reason.NAMESPACE_AT_CAPACITY,
        Reason.RETRYING,
    ),
    Phase.RUNNING: (Reason.STARTING, Reason.RUNNING),
    Phase.PASSED: (),
    Phase.FAILED: (Reason.TEST_FAILED, Reason.TEST_TIMEOUT),
    Phase.ERROR: (
        Reason.EXECUTION_TIMEOUT,
        Reason.START_TIMEOUT,
        Reason.QUEUE_TIMEOUT,
        Reason.IMAGE_PULL_FAILED,
        Reason.UNSCHEDULABLE,
        Reason.OOM_KILLED,
        Reason.EVICTED,
        Reason.NODE_LOST,
        Reason.POD_DELETED,
        Reason.JOB_DELETED,
        Reason.QUOTA_EXCEEDED,
        Reason.POD_REJECTED,
        Reason.INVALID_TEMPLATE,
        Reason.INTERNAL,
    ),
    Phase.CANCELLED: (Reason.CANCELLED_BY_USER, Reason.QUEUE_DRAINED, Reason.FAIL_FAST),
}
"""The taxonomy: which reasons a phase may have."""


class Model(BaseModel):
    """Camel-cased on the wire, immutable in memory, blind to fields it does not know."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore"
    )


DnsLabel = Annotated[
    str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", min_length=1, max_length=63)
]


def _quantity(value: int | str) -> int | str:
    if not re.search(QUANTITY_PATTERN, str(value)):
        raise ValueError("it is no quantity, such as 500m or 1Gi")
    return value


Quantity = Annotated[
    int | str,
    Field(json_schema_extra={"pattern": QUANTITY_PATTERN}),
    AfterValidator(_quantity),
]
Words = Annotated[list[str], Field(max_length=4096)]
Labels = Annotated[dict[str, str], Field(max_length=64)]


# What a container takes, as far as a test may say it. ------------------------------------------


class KeyRef(Model):
    """One key of a ConfigMap or a Secret in the execution's namespace."""

    name: str = Field(min_length=1, max_length=253)
    key: str = Field(min_length=1, max_length=253)
    optional: bool | None = None


class FieldRef(Model):
    api_version: str | None = None
    field_path: str = Field(min_length=1, max_length=1024)


class ResourceFieldRef(Model):
    container_name: str | None = None
    resource: str = Field(min_length=1, max_length=253)
    divisor: Quantity | None = None


class EnvVarSource(Model):
    config_map_key_ref: KeyRef | None = None
    secret_key_ref: KeyRef | None = None
    field_ref: FieldRef | None = None
    resource_field_ref: ResourceFieldRef | None = None


class EnvVar(Model):
    """As in a container."""

    name: str = Field(min_length=1, max_length=1024)
    value: str | None = None
    value_from: EnvVarSource | None = None


class SourceRef(Model):
    name: str = Field(min_length=1, max_length=253)
    optional: bool | None = None


class EnvFrom(Model):
    """As in a container."""

    prefix: str | None = None
    config_map_ref: SourceRef | None = None
    secret_ref: SourceRef | None = None


class ResourceClaim(Model):
    name: str = Field(min_length=1, max_length=253)
    request: str | None = None


class ResourceRequirements(Model):
    """As in a container."""

    limits: dict[str, Quantity] | None = None
    requests: dict[str, Quantity] | None = None
    claims: Annotated[list[ResourceClaim], Field(max_length=64)] | None = None


# TestExecution ---------------------------------------------------------------------------------


class Test(Model):
    """One container to run to its end; exit code 0 passes."""

    __test__ = False  # not a pytest class, in spite of its name

    name: DnsLabel = Field(description="Unique within the execution; a DNS label.")
    image: str = Field(min_length=1, max_length=1024, pattern=r"^\S+$")
    command: Words | None = Field(default=None, description="As in a container.")
    args: Words | None = Field(default=None, description="As in a container.")
    env: Annotated[list[EnvVar], Field(max_length=1024)] | None = None
    env_from: Annotated[list[EnvFrom], Field(max_length=256)] | None = None
    resources: ResourceRequirements | None = None
    script: str | None = Field(
        default=None,
        max_length=SCRIPT_LIMIT,
        description="Mounted read-only at /supercheck/script; never passed on a command line.",
    )
    timeout_seconds: int | None = Field(
        default=None,
        ge=1,
        le=7 * _DAY,
        description="This test's own limit, from the start of its container.",
    )


RetriedResults = Annotated[list[Literal["Error", "Failure"]], Field(max_length=2)]


class Retry(Model):
    """Attempts after the first; what passed is not run again."""

    limit: int = Field(
        default=0, ge=0, le=MAX_RETRIES, description="How many attempts may follow the first."
    )
    on: RetriedResults = Field(default=["Error"], description="Which results are tried again.")
    unquoted_on: RetriedResults | None = Field(
        default=None,
        alias="true",
        description="What YAML 1.1, as kubectl reads it, makes of `on` without quotes; goes first.",
    )
    backoff_seconds: int = Field(
        default=5,
        ge=0,
        le=300,
        description="Wait before the second attempt; doubles with each, up to 300. Holds no slot.",
    )

    @property
    def tried_on(self) -> frozenset[str]:
        """The results that are tried again, by either spelling."""
        return frozenset(self.on if self.unquoted_on is None else self.unquoted_on)


class TestExecutionSpec(Model):
    __test__ = False

    queue: DnsLabel = Field(default=DEFAULT_QUEUE, description="The ExecutionQueue to wait in.")
    priority: int = Field(
        default=0,
        ge=-_INT32 - 1,
        le=_INT32,
        description="Higher starts first; may be changed while it waits.",
    )
    tests: Annotated[list[Test], Field(min_length=1, max_length=MAX_TESTS)] = Field(
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
        }
    )
    template: dict[str, Any] | None = Field(
        default=None,
        description="A PodTemplateSpec laid under every test's pod: volumes, nodeSelector,"
        " tolerations, serviceAccountName, sidecars, ...",
    )
    max_concurrent_tests: int | None = Field(
        default=None,
        ge=1,
        le=MAX_TESTS,
        description="Tests of this execution at once; omitted = MAX_CONCURRENT_TESTS.",
    )
    fail_fast: bool = Field(default=False, description="Stop at the first test not passed.")
    timeout_seconds: int | None = Field(
        default=None,
        ge=1,
        le=7 * _DAY,
        description="From the start of the first container; omitted = TEST_EXECUTION_TIMEOUT_MS."
        " Waiting, pulling images and scheduling never count.",
    )
    start_timeout_seconds: int = Field(
        default=300,
        ge=1,
        le=_DAY,
        description="How long a pod may stay unstarted before it is an Error.",
    )
    queue_timeout_seconds: int | None = Field(
        default=None,
        ge=1,
        le=30 * _DAY,
        description="How long it may wait in the queue; null = for ever.",
    )
    retry: Retry | None = None
    suspend: bool = Field(default=False, description="Keep the place in line, do not start.")
    cancel: bool = Field(default=False, description="Stop it, in any phase, once and for all.")
    ttl_seconds_after_finished: int | None = Field(
        default=None,
        ge=0,
        le=366 * _DAY,
        description="Delete this TestExecution this long after it finished; null = keep.",
    )


class Summary(Model):
    total: int = 0
    passed: int = 0
    failed: int = 0
    error: int = 0
    cancelled: int = 0
    running: int = 0


class TestStatus(Model):
    """The result of one test, in the order of the spec."""

    __test__ = False

    name: DnsLabel
    phase: Phase = Phase.QUEUED
    reason: str | None = None
    message: str | None = None
    exit_code: int | None = None
    attempts: int = 0
    started_at: str | None = Field(default=None, json_schema_extra={"format": "date-time"})
    completed_at: str | None = Field(default=None, json_schema_extra={"format": "date-time"})
    pod: str | None = None


class Condition(Model):
    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str = ""
    observed_generation: int | None = None
    last_transition_time: str = Field(json_schema_extra={"format": "date-time"})


Conditions = Annotated[
    list[Condition],
    Field(
        max_length=16,
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
        },
    ),
]


class TestExecutionStatus(Model):
    __test__ = False

    phase: Phase = Phase.QUEUED
    reason: str | None = None
    message: str | None = None
    observed_generation: int | None = None
    started_at: str | None = Field(default=None, json_schema_extra={"format": "date-time"})
    completed_at: str | None = Field(default=None, json_schema_extra={"format": "date-time"})
    attempts: int | None = None
    summary: Summary | None = None
    progress: str | None = Field(
        default=None, description="Passed of total, such as 3/4, for the printer column."
    )
    tests: Annotated[list[TestStatus], Field(max_length=MAX_TESTS)] | None = Field(
        default=None,
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
        },
    )
    conditions: Conditions | None = None


# ExecutionQueue --------------------------------------------------------------------------------

Capacity = Annotated[int, Field(ge=0, le=100_000)]


class NamespaceCapacity(Model):
    """A cap on each namespace within the queue."""

    running_capacity: Capacity | None = None
    queued_capacity: Capacity | None = None


class LabelSelectorRequirement(Model):
    key: str = Field(min_length=1, max_length=317)
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: Annotated[list[str], Field(max_length=256)] | None = None


class LabelSelector(Model):
    match_labels: Labels | None = None
    match_expressions: Annotated[list[LabelSelectorRequirement], Field(max_length=64)] | None = None

    def matches(self, labels: dict[str, str]) -> bool:
        """Whether ``labels`` satisfy every requirement; an empty selector matches everything."""
        wanted = self.match_labels or {}
        return all(labels.get(key) == value for key, value in wanted.items()) and all(
            _satisfied(requirement, labels) for requirement in self.match_expressions or []
        )


def _satisfied(requirement: LabelSelectorRequirement, labels: dict[str, str]) -> bool:
    present = requirement.key in labels
    listed = labels.get(requirement.key) in (requirement.values or [])
    match requirement.operator:
        case "In":
            return present and listed
        case "NotIn":
            return not (present and listed)
        case "Exists":
            return present
        case "DoesNotExist":
            return not present


class History(Model):
    """How many finished executions to keep per namespace; null = all."""

    passed: Capacity | None = None
    failed: Capacity | None = None


class Ordering(StrEnum):
    FIFO = "FIFO"
    FAIR_SHARE = "FairShare"


class StopPolicy(StrEnum):
    NONE = "None"
    HOLD = "Hold"
    HOLD_AND_DRAIN = "HoldAndDrain"
    CLOSED = "Closed"

    @property
    def holds(self) -> bool:
        """Nothing new starts."""
        return self in (StopPolicy.HOLD, StopPolicy.HOLD_AND_DRAIN)


class ExecutionQueueSpec(Model):
    running_capacity: Capacity | None = Field(
        default=None, description="Executions running at once; omitted = RUNNING_CAPACITY."
    )
    queued_capacity: Capacity | None = Field(
        default=None, description="Executions waiting at most; omitted = QUEUED_CAPACITY."
    )
    per_namespace: NamespaceCapacity | None = None
    namespace_selector: LabelSelector | None = Field(
        default=None, description="Namespaces that may submit; omitted = all."
    )
    ordering: Ordering = Field(
        default=Ordering.FIFO,
        description="FIFO, or FairShare: the namespace with the fewest running goes first."
        " Priority comes first in both.",
    )
    ageing_seconds: int | None = Field(
        default=None,
        ge=1,
        le=30 * _DAY,
        description="Waiting this long counts as one more priority, so that low priority never"
        " starves; null = waiting counts as none.",
    )
    stop_policy: StopPolicy = Field(
        default=StopPolicy.NONE,
        description="Hold starts nothing new, HoldAndDrain also cancels what waits and runs,"
        " Closed admits nothing and lets the rest finish.",
    )
    history: History | None = None


class UpcomingEntry(Model):
    namespace: str
    name: str
    position: int


class Usage(Model):
    """The counts as people read them, for the printer columns."""

    running: str
    queued: str


class ExecutionQueueStatus(Model):
    observed_generation: int | None = None
    running: int | None = None
    running_capacity: int | None = None
    queued: int | None = None
    queued_capacity: int | None = None
    usage: Usage | None = None
    slot_seconds: float | None = Field(
        default=None,
        description="How long executions lately held their slot, on average; estimates rest on it.",
    )
    upcoming: Annotated[list[UpcomingEntry], Field(max_length=10)] | None = None
    conditions: Conditions | None = None


class ObjectMeta(Model):
    """What is read of an object's metadata."""

    name: str
    namespace: str = ""
    uid: str = ""
    resource_version: int = 0
    generation: int = 0
    creation_timestamp: str = ""
    deletion_timestamp: str | None = None
    labels: dict[str, str] = {}


class TestExecution(Model):
    __test__ = False

    metadata: ObjectMeta
    spec: TestExecutionSpec
    status: TestExecutionStatus = TestExecutionStatus()

    @property
    def acknowledged(self) -> bool:
        """Whether its status says that it is about the newest spec."""
        return self.status.observed_generation == self.metadata.generation


class ExecutionQueue(Model):
    metadata: ObjectMeta
    spec: ExecutionQueueSpec = ExecutionQueueSpec()
    status: ExecutionQueueStatus = ExecutionQueueStatus()
