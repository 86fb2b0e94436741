from __future__ import annotations

import argparse
from datetime import timedelta
from pathlib import Path

import pytest
from tests.unit.builders import queue

from supercheck_operator import settings
from supercheck_operator.ledger.address import Address, Kind, Login, Tls
from supercheck_operator.ledger.capacity import Limits
from supercheck_operator.settings import Settings, SettingsError, add_flags, load


@pytest.fixture(autouse=True)
def outside_of_a_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "_OWN_NAMESPACE", tmp_path / "none")


def load_from(*argv: str, **environment: str) -> Settings:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    return load(parser.parse_args(argv), environment)


def test_the_defaults_are_those_of_the_contract() -> None:
    settings = load_from()
    assert (settings.running_capacity, settings.queued_capacity) == (5, 50)
    assert settings.max_concurrent_tests == 2
    assert settings.execution_timeout == timedelta(minutes=15)
    assert settings.ledger == "memory"
    assert (settings.webhook_port, settings.http_port) == (9443, 8080)
    assert settings.components == {"admission", "controller", "api"}
    assert settings.retry_after_seconds == 0
    assert not settings.local


def test_every_variable_is_heard() -> None:
    settings = load_from(
        RUNNING_CAPACITY="7",
        QUEUED_CAPACITY="0",
        MAX_CONCURRENT_TESTS="3",
        TEST_EXECUTION_TIMEOUT_MS="60000",
        RETRY_AFTER_SECONDS="9",
        SWEEP_SECONDS="2.5",
        DRAIN_SECONDS="5",
        WATCH_NAMESPACES="team-a, team-b",
        HOME="/root",
    )
    assert (settings.running_capacity, settings.queued_capacity) == (7, 0)
    assert (settings.max_concurrent_tests, settings.retry_after_seconds) == (3, 9)
    assert (settings.execution_timeout, settings.sweep_seconds) == (timedelta(minutes=1), 2.5)
    assert settings.drain_seconds == 5
    assert settings.watch_namespaces == ("team-a", "team-b")


def test_every_flag_is_heard() -> None:
    settings = load_from(
        "--local",
        "--kubeconfig=k",
        "--context=c",
        "--components=api,controller",
        "--ledger=memory",
        "--webhook-port=1",
        "--http-port=2",
        "--log-level=debug",
    )
    assert settings.local
    assert (str(settings.kubeconfig), settings.context) == ("k", "c")
    assert settings.components == {"api", "controller"}
    assert (settings.webhook_port, settings.http_port) == (1, 2)
    assert settings.log_level == "debug"


def test_an_empty_variable_is_as_good_as_none() -> None:
    assert load_from(RUNNING_CAPACITY="", REDIS_URL="").running_capacity == 5


def test_the_help_tells_about_every_flag_and_variable() -> None:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    text = parser.format_help()
    for word in ("RUNNING_CAPACITY", "QUEUED_CAPACITY", "SWEEP_SECONDS", "--ledger", "--local"):
        assert word in text


@pytest.mark.parametrize(
    ("variable", "value", "must"),
    [
        ("RUNNING_CAPACITY", "-1", "be greater than or equal to 0"),
        ("RUNNING_CAPACITY", "five", "be a valid integer, unable to parse string as an integer"),
        ("RUNNING_CAPACITY", "1.5", "be a valid integer, unable to parse string as an integer"),
        ("RUNNING_CAPACITY", "100001", "be less than or equal to 100000"),
        ("QUEUED_CAPACITY", "-50", "be greater than or equal to 0"),
        ("QUEUED_CAPACITY", "9" * 30, "be less than or equal to 100000"),
        ("MAX_CONCURRENT_TESTS", "0", "be greater than or equal to 1"),
        ("MAX_CONCURRENT_TESTS", "101", "be less than or equal to 100"),
        ("TEST_EXECUTION_TIMEOUT_MS", "999", "be greater than or equal to 1000"),
        ("TEST_EXECUTION_TIMEOUT_MS", "604800001", "be less than or equal to 604800000"),
        ("RETRY_AFTER_SECONDS", "-1", "be greater than or equal to 0"),
        ("RETRY_AFTER_SECONDS", "3601", "be less than or equal to 3600"),
        ("DRAIN_SECONDS", "301", "be less than or equal to 300"),
        ("SWEEP_SECONDS", "0", "be greater than or equal to 1"),
        ("SWEEP_SECONDS", "inf", "be less than or equal to 600"),
        ("SWEEP_SECONDS", "nan", "be less than or equal to 600"),
        ("SWEEP_SECONDS", "soon", "be a valid number, unable to parse string as a number"),
    ],
)
def test_a_variable_that_cannot_be_right_is_named(variable: str, value: str, must: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        load_from(**{variable: value})
    assert str(refusal.value) == f"{variable} cannot be {value!r}: it must {must}."


@pytest.mark.parametrize(
    ("flag", "value", "must"),
    [
        ("--ledger", "postgres", "be 'memory' or 'redis'"),
        ("--ledger", "", "be 'memory' or 'redis'"),
        ("--webhook-port", "0", "be greater than or equal to 1"),
        ("--webhook-port", "65536", "be less than or equal to 65535"),
        ("--http-port", "http", "be a valid integer, unable to parse string as an integer"),
        ("--log-level", "loud", "be 'debug', 'info', 'warning' or 'error'"),
        ("--components", "api,gui", "be 'admission', 'controller' or 'api'"),
    ],
)
def test_a_flag_that_cannot_be_right_is_named(flag: str, value: str, must: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        load_from(flag, value)
    assert str(refusal.value) == f"{flag} cannot be {value!r}: it must {must}."


@pytest.mark.parametrize("value", ["", ",", " , "])
def test_at_least_one_component_must_be_named(value: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        load_from("--components", value)
    assert str(refusal.value) == "--components cannot be '': it must have at least 1 item."


def test_a_process_without_the_controller_would_have_no_ledger() -> None:
    with pytest.raises(SettingsError) as refusal:
        load_from("--components", "admission,api")
    assert str(refusal.value) == (
        "--components must include controller: its process keeps the ledger in memory;"
        " without it, --ledger redis is needed."
    )


def test_a_secret_for_the_certificate_needs_a_namespace_to_be_in() -> None:
    with pytest.raises(SettingsError) as refusal:
        load_from("--webhook-secret", "certificate")
    assert str(refusal.value) == "--webhook-secret needs POD_NAMESPACE, the namespace it is in."
    said = load_from("--webhook-secret", "certificate", POD_NAMESPACE="here")
    assert said.webhook_secret == "certificate"


def test_a_number_too_long_to_read_is_refused_in_a_sentence() -> None:
    with pytest.raises(SettingsError) as refusal:
        load_from(RUNNING_CAPACITY="9" * 5000)
    assert str(refusal.value) == (
        f"RUNNING_CAPACITY cannot be '{'9' * 40}…':"
        " Unable to parse input string as an integer, exceeded maximum size."
    )


def test_one_port_cannot_serve_two() -> None:
    with pytest.raises(SettingsError) as refusal:
        load_from("--webhook-port", "8443", "--http-port", "8443")
    assert str(refusal.value) == "--webhook-port and --http-port must differ."


# Redis -------------------------------------------------------------------------------------------


def in_a_pod(*argv: str, **environment: str) -> Settings:
    return load_from(*argv, POD_NAMESPACE="home", **environment)


@pytest.mark.parametrize(
    "said",
    [{"REDIS_HOST": "redis"}, {"REDIS_URL": "redis://redis"}, {"REDIS_URL": "sentinel://s/x"}],
)
def test_where_redis_is_told_of_it_is_used_unless_memory_is_asked_for(said: dict[str, str]) -> None:
    assert in_a_pod(**said).ledger == "redis"
    assert in_a_pod("--ledger", "memory", **said).ledger == "memory"


def test_host_port_and_password_make_an_address(tmp_path: Path) -> None:
    settings = in_a_pod(
        REDIS_HOST="r",
        REDIS_PORT="7000",
        REDIS_USERNAME="u",
        REDIS_PASSWORD="p",
        REDIS_PREFIX="a:b",
    )
    address = Address(Kind.SINGLE, (("r", 7000),), Login("u", "p"))
    assert (settings.redis_address(), settings.redis_prefix) == (address, "a:b")
    file = tmp_path / "file"
    file.touch()
    settings = in_a_pod(REDIS_HOST="r", REDIS_PASSWORD_FILE=str(file), REDIS_CA_FILE=str(file))
    address = Address(Kind.SINGLE, (("r", 6379),), Login(password_file=file), tls=Tls(file))
    assert settings.redis_address() == address


def test_a_url_goes_before_a_host_and_may_leave_the_password_to_its_variable() -> None:
    settings = in_a_pod(REDIS_URL="rediss://u@one", REDIS_HOST="two", REDIS_PASSWORD="p")
    assert settings.redis_address() == Address(
        Kind.SINGLE, (("one", 6379),), Login("u", "p"), tls=Tls()
    )


def test_a_port_that_kubernetes_sets_for_a_service_is_not_ours() -> None:
    service = "tcp://10.96.0.7:6379"
    for said in ({"REDIS_HOST": "redis"}, {"REDIS_URL": "redis://redis"}, {}):
        assert in_a_pod(REDIS_PORT=service, **said).redis_port == 6379


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"REDIS_URL": "secret:6379"}, "REDIS_URL cannot be used: it has no scheme"),
        (
            {"REDIS_URL": "http://secret"},
            "REDIS_URL cannot be used: it has no scheme",
        ),
        ({"REDIS_URL": "redis://"}, "REDIS_URL cannot be used: it names no host"),
        ({"REDIS_URL": "redis://u:secret@"}, "REDIS_URL cannot be used: it names no host"),
        ({"REDIS_URL": "redis://u:secret#1@r"}, "REDIS_URL cannot be used: its port is no number"),
        ({"REDIS_URL": "redis://u:secret/@r"}, "REDIS_URL cannot be used: its port is no number"),
        ({"REDIS_URL": "redis://r:65536"}, "REDIS_URL cannot be used: its port is no number"),
        ({"REDIS_URL": "redis://r/secret"}, "REDIS_URL cannot be used: its database is no number"),
        ({"REDIS_URL": "redis://r?ssl=no"}, "REDIS_URL cannot be used: it has an option"),
        ({"REDIS_URL": "redis://r,s"}, "REDIS_URL cannot be used: it names several hosts"),
        ({"REDIS_URL": "redis+sentinel://r"}, "REDIS_URL cannot be used: it does not say the name"),
        ({"REDIS_URL": "redis+cluster://r/1"}, "REDIS_URL cannot be used: a cluster has only"),
        ({"REDIS_HOST": "redis://u:secret@r"}, "REDIS_HOST must be the name of a host"),
        ({"REDIS_HOST": "r", "REDIS_PORT": "many"}, "REDIS_PORT cannot be 'many': it must be"),
        ({"REDIS_HOST": "r", "REDIS_PREFIX": "a b"}, "REDIS_PREFIX cannot be 'a b': it must"),
        (
            {"REDIS_HOST": "r", "REDIS_PASSWORD_FILE": "/no/such"},
            "REDIS_PASSWORD_FILE cannot be '/no/such': there is no such file.",
        ),
        (
            {"REDIS_URL": "rediss://r", "REDIS_CA_FILE": "/no/such"},
            "REDIS_CA_FILE cannot be '/no/such': there is no such file.",
        ),
        (
            {"REDIS_URL": "rediss://r", "REDIS_KEY_FILE": __file__},
            "REDIS_CERT_FILE and REDIS_KEY_FILE belong together.",
        ),
        (
            {"REDIS_URL": "redis://r", "REDIS_CA_FILE": __file__},
            "REDIS_URL is not one of rediss, but there are files for TLS.",
        ),
    ],
)
def test_a_redis_that_cannot_be_is_told_in_a_sentence_without_secrets(
    said: dict[str, str], sentence: str
) -> None:
    with pytest.raises(SettingsError) as refusal:
        load_from(**said)
    assert str(refusal.value).startswith(sentence)
    assert str(refusal.value).endswith(".")
    assert "secret" not in str(refusal.value)


def test_a_redis_ledger_without_redis_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"^--ledger redis needs REDIS_URL or REDIS_HOST\.$"):
        load_from("--ledger", "redis")


def test_settings_that_are_printed_show_no_secret() -> None:
    settings = in_a_pod(REDIS_URL="redis://u:hidden@r", REDIS_PASSWORD="hidden")
    assert "hidden" not in f"{settings!r} {settings.redis_address()!r} {settings.redis_address()}"


def test_of_several_that_would_control_the_lease_says_who_leads() -> None:
    with pytest.raises(SettingsError) as refusal:
        load_from("--components", "controller", REDIS_HOST="r")
    assert str(refusal.value) == (
        "--ledger redis needs POD_NAMESPACE outside of a cluster: of several processes with the"
        " controller, the Lease in that namespace says which one launches."
    )
    assert load_from("--components", "admission,api", REDIS_HOST="r").ledger == "redis"
    assert load_from("--local", REDIS_HOST="r").ledger == "redis"


def test_in_a_cluster_the_lease_is_in_the_pod_s_own_namespace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "namespace"
    file.write_text("home\n")
    monkeypatch.setattr(settings, "_OWN_NAMESPACE", file)
    assert load_from(REDIS_HOST="r").pod_namespace == "home"
    assert load_from(POD_NAMESPACE="said").pod_namespace == "said"
    assert load_from("--local").pod_namespace == ""


# What a queue leaves unsaid ----------------------------------------------------------------------


def test_a_silent_queue_has_the_limits_of_the_settings() -> None:
    assert Settings().limits(queue().spec) == Limits(running=5, queued=50)


def test_a_queue_that_speaks_is_heard_also_when_it_says_zero() -> None:
    spec = queue(
        runningCapacity=0,
        queuedCapacity=0,
        perNamespace={"runningCapacity": 3, "queuedCapacity": 20},
        stopPolicy="Hold",
    ).spec
    assert Settings().limits(spec) == Limits(0, 0, 3, 20, held=True)
