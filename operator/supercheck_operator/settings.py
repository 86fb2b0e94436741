"""What an operator of the operator may set: flags over environment over defaults, checked once."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from supercheck_operator.ledger.address import PORT, Address, AddressError, Kind, Login, Tls, parse
from supercheck_operator.ledger.capacity import Limits, or_else
from supercheck_operator.resources import ExecutionQueueSpec

Component = Literal["admission", "controller", "api"]
COMPONENTS: Final[tuple[Component, ...]] = ("admission", "controller", "api")
_PORT_LIMIT: Final = 65535
_LABEL: Final = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
_NAME: Final = r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$"
_SHOWN: Final = 40
"""Characters of a wrong value that are shown."""
_OWN_NAMESPACE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
"""https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/"""


class SettingsError(Exception):
    """A setting that cannot be right; its text is one sentence naming it."""


class Settings(BaseModel):
    """Every setting of ``supercheck-operator run``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    running_capacity: Annotated[int, Field(ge=0, le=100_000)] = 5
    queued_capacity: Annotated[int, Field(ge=0, le=100_000)] = 50
    max_concurrent_tests: Annotated[int, Field(ge=1, le=100)] = 2
    test_execution_timeout_ms: Annotated[int, Field(ge=1000, le=7 * 24 * 3_600_000)] = 900_000
    retry_after_seconds: Annotated[int, Field(ge=0, le=3600)] = 0
    job_ttl_seconds: Annotated[int, Field(ge=0, le=366 * 24 * 3600)] = 24 * 3600
    ledger: Literal["memory", "redis"] = "memory"
    redis_url: SecretStr | None = None
    redis_host: str | None = None
    redis_port: Annotated[int, Field(ge=1, le=_PORT_LIMIT)] = PORT
    redis_username: str | None = None
    redis_password: SecretStr | None = None
    redis_password_file: Path | None = None
    redis_ca_file: Path | None = None
    redis_cert_file: Path | None = None
    redis_key_file: Path | None = None
    redis_prefix: Annotated[str, Field(pattern=r"^[-\w.:]{1,100}$")] = "supercheck"
    webhook_port: Annotated[int, Field(ge=1, le=_PORT_LIMIT)] = 9443
    webhook_configuration: Annotated[str, Field(pattern=_NAME)] = "supercheck-operator"
    webhook_service: Annotated[str, Field(pattern=_NAME)] = "supercheck-operator"
    webhook_secret: Annotated[str, Field(pattern=_NAME)] | None = None
    webhook_certificates: Path | None = None
    webhook_client_ca_file: Path | None = None
    webhook_certificate_seconds: Annotated[int, Field(ge=10, le=10 * 365 * 86_400)] = 90 * 86_400
    pod_namespace: str = ""
    pod_name: str = ""
    lease: Annotated[str, Field(pattern=_NAME)] = "supercheck-operator"
    queues: Path | None = None
    watch_namespaces: tuple[Annotated[str, Field(pattern=_LABEL)], ...] = ()
    http_port: Annotated[int, Field(ge=1, le=_PORT_LIMIT)] = 8080
    local: bool = False
    kubeconfig: Path | None = None
    context: str | None = None
    components: Annotated[frozenset[Component], Field(min_length=1)] = frozenset(COMPONENTS)
    sweep_seconds: Annotated[float, Field(ge=1, le=600)] = 30
    drain_seconds: Annotated[float, Field(ge=0, le=300)] = 0
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @model_validator(mode="after")
    def _ports_differ(self) -> Settings:
        if self.webhook_port == self.http_port:
            raise ValueError("--webhook-port and --http-port must differ")
        return self

    @model_validator(mode="after")
    def _ledger_is_kept(self) -> Settings:
        if self.ledger == "memory" and "controller" not in self.components:
            raise ValueError(
                "--components must include controller: its process keeps the ledger in memory;"
                " without it, --ledger redis is needed"
            )
        return self

    @model_validator(mode="after")
    def _redis_is_somewhere(self) -> Settings:
        if self.ledger == "redis":
            self.redis_address()
        return self

    @model_validator(mode="after")
    def _a_secret_has_a_namespace(self) -> Settings:
        if self.webhook_secret is not None and not self.pod_namespace:
            raise ValueError("--webhook-secret needs POD_NAMESPACE, the namespace it is in")
        return self

    @model_validator(mode="after")
    def _one_of_several_leads(self) -> Settings:
        several = self.ledger == "redis" and "controller" in self.components
        if several and not self.local and not self.pod_namespace:
            raise ValueError(
                "--ledger redis needs POD_NAMESPACE outside of a cluster: of several processes"
                " with the controller, the Lease in that namespace says which one launches"
            )
        return self

    def redis_address(self) -> Address:
        """Where Redis is. Raises ValueError: one sentence without its full stop, and no secret."""
        for file in ("redis_password_file", "redis_ca_file", "redis_cert_file", "redis_key_file"):
            path = getattr(self, file)
            if path is not None and not path.is_file():
                raise ValueError(f"{file.upper()} cannot be {str(path)!r}: there is no such file")
        if (self.redis_cert_file is None) != (self.redis_key_file is None):
            raise ValueError("REDIS_CERT_FILE and REDIS_KEY_FILE belong together")
        files = (self.redis_ca_file, self.redis_cert_file, self.redis_key_file)
        tls = Tls(*files) if any(files) else None
        password = self.redis_password.get_secret_value() if self.redis_password else None
        login = Login(self.redis_username, password, self.redis_password_file)
        if self.redis_url is None:
            return self._redis_at(self.redis_host or "", login, tls)
        try:
            address = parse(self.redis_url.get_secret_value(), login, tls or Tls())
        except AddressError as error:
            raise ValueError(f"REDIS_URL cannot be used: {error}") from error
        if tls and not address.tls:
            raise ValueError("REDIS_URL is not one of rediss, but there are files for TLS")
        return address

    def _redis_at(self, host: str, login: Login, tls: Tls | None) -> Address:
        if not host:
            raise ValueError("--ledger redis needs REDIS_URL or REDIS_HOST")
        if not set(host).isdisjoint("/@, "):
            raise ValueError("REDIS_HOST must be the name of a host; a URL belongs in REDIS_URL")
        return Address(Kind.SINGLE, ((host, self.redis_port),), login, tls=tls)

    @property
    def execution_timeout(self) -> timedelta:
        return timedelta(milliseconds=self.test_execution_timeout_ms)

    def limits(self, queue: ExecutionQueueSpec) -> Limits:
        """What ``queue`` allows; where it is silent, these settings speak."""
        share = queue.per_namespace
        return Limits(
            running=or_else(queue.running_capacity, self.running_capacity),
            queued=or_else(queue.queued_capacity, self.queued_capacity),
            namespace_running=share.running_capacity if share else None,
            namespace_queued=share.queued_capacity if share else None,
            held=queue.stop_policy.holds,
        )


# Where a setting comes from, for the sentence that refuses it: its flag and its variable.
_FLAGS: Final[dict[str, str]] = {
    "ledger": "--ledger",
    "webhook_port": "--webhook-port",
    "webhook_configuration": "--webhook-configuration",
    "webhook_service": "--webhook-service",
    "webhook_secret": "--webhook-secret",
    "webhook_certificates": "--webhook-certificates",
    "queues": "--queues",
    "lease": "--lease",
    "http_port": "--http-port",
    "kubeconfig": "--kubeconfig",
    "context": "--context",
    "components": "--components",
    "log_level": "--log-level",
}
_VARIABLES: Final[dict[str, str]] = {
    "running_capacity": "RUNNING_CAPACITY",
    "queued_capacity": "QUEUED_CAPACITY",
    "max_concurrent_tests": "MAX_CONCURRENT_TESTS",
    "test_execution_timeout_ms": "TEST_EXECUTION_TIMEOUT_MS",
    "retry_after_seconds": "RETRY_AFTER_SECONDS",
    "job_ttl_seconds": "JOB_TTL_SECONDS",
    "sweep_seconds": "SWEEP_SECONDS",
    "drain_seconds": "DRAIN_SECONDS",
    "webhook_certificate_seconds": "WEBHOOK_CERTIFICATE_SECONDS",
    "webhook_client_ca_file": "WEBHOOK_CLIENT_CA_FILE",
    "watch_namespaces": "WATCH_NAMESPACES",
    "pod_namespace": "POD_NAMESPACE",
    "pod_name": "POD_NAME",
}
_REDIS_VARIABLES: Final[dict[str, str]] = {
    field: field.upper() for field in Settings.model_fields if field.startswith("redis_")
}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of ``run`` on ``parser``; absent ones leave no trace."""
    add = parser.add_argument
    add("--local", action="store_true", help="run outside the cluster, against a kubeconfig")
    add("--kubeconfig", metavar="FILE", help="default: $KUBECONFIG or ~/.kube/config")
    add("--context", metavar="NAME", help="context of the kubeconfig; default: its current one")
    add("--components", metavar="LIST", help=f"comma-separated: {','.join(COMPONENTS)} (all)")
    add("--ledger", metavar="KIND", help="memory, or redis (if REDIS_URL or REDIS_HOST is set)")
    add("--webhook-port", metavar="PORT", help="HTTPS port of the admission webhook (9443)")
    add("--webhook-configuration", metavar="NAME", help="the one to write the authority into")
    add("--webhook-service", metavar="NAME", help="the Service that leads to the webhook")
    add("--webhook-secret", metavar="NAME", help="where certificates are kept; default: nowhere")
    add("--webhook-certificates", metavar="FOLDER", help="serve tls.crt and tls.key of it instead")
    add("--queues", metavar="FILE", help="ExecutionQueues to apply, now and when they change")
    add("--lease", metavar="NAME", help="who holds it launches; needs POD_NAMESPACE")
    add("--http-port", metavar="PORT", help="HTTP port of API, metrics and health (8080)")
    add("--log-level", metavar="LEVEL", help="debug, info, warning or error (info)")
    parser.epilog = (
        "environment: RUNNING_CAPACITY (5), QUEUED_CAPACITY (50), MAX_CONCURRENT_TESTS (2), "
        "TEST_EXECUTION_TIMEOUT_MS (900000), RETRY_AFTER_SECONDS (0: clients are not told to "
        "retry), JOB_TTL_SECONDS (86400: Jobs, pods and logs are kept so long after the end), "
        "SWEEP_SECONDS (30), DRAIN_SECONDS (0: answer on for so long after SIGTERM), "
        "WEBHOOK_CERTIFICATE_SECONDS (7776000), WEBHOOK_CLIENT_CA_FILE (none), "
        "WATCH_NAMESPACES (empty: all), POD_NAMESPACE (the pod's own), POD_NAME; "
        "for Redis: "
        "REDIS_URL, or REDIS_HOST and REDIS_PORT (6379); REDIS_USERNAME, REDIS_PASSWORD or "
        "REDIS_PASSWORD_FILE; REDIS_CA_FILE, REDIS_CERT_FILE, REDIS_KEY_FILE; REDIS_PREFIX"
    )


def load(flags: argparse.Namespace, environment: Mapping[str, str]) -> Settings:
    """The settings said by ``flags`` and ``environment``.

    Raises SettingsError: one sentence that names the setting and says what it may be.
    """
    said: dict[str, Any] = {
        field: environment[variable]
        for field, variable in _VARIABLES.items()
        if environment.get(variable, "") != ""
    }
    said |= {k: v for k, v in vars(flags).items() if k in Settings.model_fields and v is not None}
    for field in ("components", "watch_namespaces"):
        if isinstance(several := said.get(field), str):
            said[field] = [name.strip() for name in several.split(",") if name.strip()]
    if not said.get("local") and _OWN_NAMESPACE.is_file():
        said.setdefault("pod_namespace", _OWN_NAMESPACE.read_text().strip())
    if said.setdefault("ledger", _ledger(environment)) != "memory":
        said |= _redis(environment)
    try:
        return Settings.model_validate(said)
    except ValidationError as error:
        raise SettingsError(_sentence(error.errors(), said)) from error


def _ledger(environment: Mapping[str, str]) -> str:
    return "redis" if environment.get("REDIS_URL") or environment.get("REDIS_HOST") else "memory"


def _redis(environment: Mapping[str, str]) -> dict[str, str]:
    said = {
        field: environment[variable]
        for field, variable in _REDIS_VARIABLES.items()
        if environment.get(variable, "") != ""
    }
    if "redis_url" in said or said.get("redis_port", "").startswith("tcp://"):
        # Kubernetes itself sets REDIS_PORT so, where there is a Service named redis.
        said.pop("redis_port", None)
    return said


def _sentence(errors: Sequence[Any], said: Mapping[str, Any]) -> str:
    first = errors[0]
    if not first["loc"]:
        return f"{first['ctx']['error']}."
    field = str(first["loc"][0])
    name = (_VARIABLES | _REDIS_VARIABLES | _FLAGS).get(field, field)
    value = said.get(field)
    shown = str(",".join(value) if isinstance(value, list) else value)
    if len(shown) > _SHOWN:
        shown = f"{shown[:_SHOWN]}…"
    _, should, told = first["msg"].partition(" after validation")[0].rpartition(" should ")
    return f"{name} cannot be {shown!r}: {'it must ' if should else ''}{told}."
