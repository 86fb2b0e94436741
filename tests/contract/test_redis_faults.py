"""What becomes of the ledger in Redis when Redis fails: it is closed, says why, and comes back."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest
import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from harness.redis_server import HOST, ClusterNode, RedisServer, SentinelServer
from harness.relay import Relay
from harness.waiting import eventually
from supercheck_operator.admission.certificates import issue
from supercheck_operator.ledger.address import Address, Kind, Login, Tls
from supercheck_operator.ledger.capacity import Limits, Occupancy
from supercheck_operator.ledger.contract import (
    Holder,
    LedgerClosedError,
    LedgerUnavailableError,
    Reservation,
    State,
)
from supercheck_operator.ledger.redis_ledger import TIMEOUT, RedisLedger

LIMITS: Final = Limits(running=5, queued=50)
BOUND: Final = 4.0
"""Seconds within which every call has an answer: the 2 s that are promised, and a busy machine."""
FOUND: Final = {
    uid: Holder(uid, "default", "team-a", state)
    for uid, state in (("one", State.RUNNING), ("two", State.WAITING), ("three", State.PARKED))
}
COUNTED: Final = Occupancy(running=1, waiting=1, parked=1)
KEY: Final = "supercheck:ledger:v1"


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@asynccontextmanager
async def ledger_at(address: Address, *, kept: float = 60) -> AsyncIterator[RedisLedger]:
    ledger = RedisLedger(address, kept=kept)
    try:
        yield ledger
    finally:
        await ledger.close()


def at(server: RedisServer, login: Login | None = None) -> Address:
    return Address(Kind.SINGLE, ((HOST, server.port),), login or Login())


@pytest.fixture
async def ledger(server: RedisServer) -> AsyncIterator[RedisLedger]:
    """Open, and holding what FOUND says."""
    async with ledger_at(at(server)) as ledger:
        await rebuild(ledger)
        yield ledger


async def rebuild(ledger: RedisLedger) -> None:
    await ledger.begin()
    await ledger.reconcile(FOUND)


async def submit(ledger: RedisLedger, uid: str = "new") -> bool:
    return (
        await ledger.reserve(Reservation(uid, "default", "team-a"), LIMITS, dry_run=False)
    ).admitted


async def refused(ledger: RedisLedger) -> str:
    """Why nobody is admitted now, whatever they submit, and no figures are told: within BOUND."""
    began = time.monotonic()
    answers = await asyncio.gather(
        ledger.occupancy("default"),
        submit(ledger, "new"),
        submit(ledger, "one"),
        return_exceptions=True,
    )
    assert time.monotonic() - began < BOUND
    assert {type(answer) for answer in answers} <= {LedgerUnavailableError, LedgerClosedError}
    return str(answers[1])


async def submit_again(ledger: RedisLedger, uid: str) -> bool:
    """Until there is an answer: on a busy machine, a call may take too long; its place is one."""
    while True:
        try:
            return await submit(ledger, uid)
        except LedgerUnavailableError as error:
            if not str(error).endswith("does not answer in time"):
                raise


async def counts_are_exact(ledger: RedisLedger) -> None:
    """Of 94 at once, 52 find a place beside the three of FOUND."""
    assert await ledger.occupancy("default") == COUNTED
    answers = await asyncio.gather(*(submit_again(ledger, f"u{n}") for n in range(94)))
    assert sum(answers) == 52
    assert await ledger.occupancy("default") == Occupancy(running=1, waiting=53, parked=1)


async def back(ledger: RedisLedger) -> None:
    """It can be rebuilt, within seconds, and then counts what it should."""

    async def rebuilt() -> bool:
        try:
            await rebuild(ledger)
        except LedgerUnavailableError:
            return False
        return True

    await eventually(rebuilt, "the ledger is rebuilt", within=10)
    await counts_are_exact(ledger)


# Redis forgets -----------------------------------------------------------------------------------


async def test_killed_it_is_out_of_reach_and_started_again_it_waits_to_be_rebuilt(
    server: RedisServer, ledger: RedisLedger
) -> None:
    server.kill()
    told = await refused(ledger)
    assert told.startswith(f"Redis at {HOST}:{server.port} cannot be reached: ")
    server.start()
    assert "has not been rebuilt yet" in await refused(ledger)
    await back(ledger)


@pytest.mark.parametrize("forget", [("FLUSHALL",), ("DEL", KEY), ("SWAPDB", 0, 1)])
async def test_wiped_it_is_closed_at_once(
    server: RedisServer, ledger: RedisLedger, forget: tuple[str, ...]
) -> None:
    server.command(*forget)
    assert await refused(ledger) == (
        f"the ledger in Redis at {HOST}:{server.port} has not been rebuilt yet"
    )
    await back(ledger)


async def test_what_is_told_while_it_is_closed_is_no_error_and_does_not_open_it(
    server: RedisServer, ledger: RedisLedger
) -> None:
    server.command("FLUSHALL")
    await ledger.hold(FOUND["one"])
    await ledger.release("two", "default")
    with pytest.raises(LedgerClosedError):
        await ledger.keep()
    assert server.command("DBSIZE") == 0
    await back(ledger)


async def test_a_list_that_began_before_it_was_wiped_does_not_open_it(
    server: RedisServer, ledger: RedisLedger
) -> None:
    """It cannot show what was admitted after it began; only the ledger knew, and has forgotten."""
    await ledger.begin()
    assert await submit(ledger)
    server.command("FLUSHALL")
    with pytest.raises(LedgerClosedError):
        await ledger.reconcile(FOUND)
    assert "has not been rebuilt yet" in await refused(ledger)
    await back(ledger)


async def test_old_data_of_a_disk_is_not_believed(server: RedisServer, ledger: RedisLedger) -> None:
    server.command("SAVE")
    assert await submit(ledger, "after-the-snapshot")
    server.kill()
    server.start()
    assert server.command("EXISTS", KEY) == 1
    assert "has not been rebuilt yet" in await refused(ledger)
    await back(ledger)


async def test_a_reservation_that_a_restart_has_kept_is_not_dropped_by_the_first_list(
    server: RedisServer, ledger: RedisLedger
) -> None:
    assert await submit(ledger, "not-seen-yet")
    server.command("HSET", KEY, "r/not-seen-yet", "1/team-a/")  # by another server's clock
    server.command("SAVE")
    server.kill()
    server.start()
    await eventually(lambda: _rebuilt(ledger), "the ledger is rebuilt", within=10)
    assert await ledger.occupancy("default") == Occupancy(running=1, waiting=2, parked=1)


async def _rebuilt(ledger: RedisLedger) -> bool:
    try:
        await rebuild(ledger)
    except LedgerUnavailableError:
        return False
    return True


async def test_a_ledger_that_nobody_keeps_closes_by_itself(server: RedisServer) -> None:
    async with ledger_at(at(server), kept=0.5) as ledger:
        await rebuild(ledger)
        for _ in range(8):
            await asyncio.sleep(0.1)
            await ledger.keep()
        assert await submit(ledger)

        async def closed() -> bool:
            try:
                await ledger.occupancy("default")
            except LedgerClosedError:
                return True
            return False

        await eventually(closed, "it is closed", within=3)
        with pytest.raises(LedgerClosedError):
            await ledger.keep()
        await rebuild(ledger)
        assert await ledger.occupancy("default") == Occupancy(running=1, waiting=2, parked=1)


async def test_a_rebuild_of_very_many_may_take_longer_than_any_other_call(
    server: RedisServer,
) -> None:
    async with ledger_at(at(server)) as ledger:
        await ledger.begin()
        server.command("CLIENT", "PAUSE", round(2000 * TIMEOUT), "ALL")
        await ledger.reconcile(FOUND)
        assert await ledger.occupancy("default") == COUNTED


# Redis does not answer ---------------------------------------------------------------------------


def _stop(server: RedisServer) -> None:
    server.stop()


def _sleep(server: RedisServer) -> None:
    def asleep() -> None:
        with server.client(socket_timeout=None) as client:
            client.execute_command("DEBUG", "SLEEP", 7)

    threading.Thread(target=asleep).start()
    _until_silent(server)


def _pause(server: RedisServer) -> None:
    server.command("CLIENT", "PAUSE", 7000, "ALL")


def _until_silent(server: RedisServer) -> None:
    with server.client(socket_timeout=0.1, retry=None) as client:
        while True:
            try:
                client.ping()
            except redis.TimeoutError:
                return


@pytest.mark.parametrize("silence", [_stop, _sleep, _pause])
async def test_silent_it_is_given_up_in_time_and_what_comes_late_does_nothing(
    server: RedisServer, ledger: RedisLedger, silence: Callable[[RedisServer], None]
) -> None:
    """What was asked lies in its sockets. Done later, it would take places for nobody."""
    silence(server)
    began = time.monotonic()
    answers = await asyncio.gather(
        *(submit(ledger, f"given-up-{n}") for n in range(300)), return_exceptions=True
    )
    assert time.monotonic() - began < BOUND
    assert {str(answer) for answer in answers} == {
        f"Redis at {HOST}:{server.port} does not answer in time"
    }
    assert "does not answer in time" in await refused(ledger)
    server.go_on()

    async def open_again() -> bool:
        try:
            return await ledger.occupancy("default") == COUNTED
        except LedgerUnavailableError:
            return False

    await eventually(open_again, "it is open, with what it had", within=10)
    await counts_are_exact(ledger)


async def test_whatever_the_client_stumbles_over_nobody_is_admitted(
    ledger: RedisLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As that of a cluster does while its nodes change."""

    async def stumble(*_: object) -> None:
        raise AttributeError("'NoneType' object has no attribute 'name'")

    with monkeypatch.context() as broken:
        broken.setattr("redis.asyncio.Redis.evalsha", stumble)
        assert "cannot be used: 'NoneType'" in await refused(ledger)
    assert await submit(ledger)


async def test_connections_that_are_cut_are_made_again(
    server: RedisServer, ledger: RedisLedger
) -> None:
    for n in range(5):
        server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        assert await submit(ledger, f"u{n}")


async def test_a_script_that_was_dropped_is_sent_again(
    server: RedisServer, ledger: RedisLedger
) -> None:
    server.command("SCRIPT", "FLUSH")
    await counts_are_exact(ledger)


async def test_a_clock_that_is_ahead_of_what_it_was_delays_nothing(
    server: RedisServer, ledger: RedisLedger
) -> None:
    """Another server after a failover, or a clock that was set."""
    assert ledger._ahead is not None
    for step in (-3600, 3600):
        ledger._ahead += step
        assert await submit(ledger, f"after {step}")


# Redis takes no writes ---------------------------------------------------------------------------


async def test_out_of_memory_nothing_is_admitted_and_what_ends_is_still_let_go(
    server: RedisServer, ledger: RedisLedger
) -> None:
    server.command("CONFIG", "SET", "maxmemory", 1)
    with pytest.raises(LedgerUnavailableError, match=r"is out of memory$"):
        await submit(ledger)
    with pytest.raises(LedgerUnavailableError, match=r"is out of memory$"):
        await ledger.begin()
    await ledger.release("two", "default")
    await ledger.keep()
    assert await ledger.occupancy("default") == Occupancy(running=1, parked=1)
    server.command("CONFIG", "SET", "maxmemory", 0)
    await back(ledger)


async def test_a_replica_is_no_ledger(server: RedisServer, ledger: RedisLedger) -> None:
    with RedisServer() as other:
        server.command("REPLICAOF", HOST, other.port)
        with pytest.raises(LedgerUnavailableError, match=r"is a replica and takes no writes$"):
            await submit(ledger)

        async def follows() -> bool:
            return bool(server.command("EXISTS", KEY) == 0)

        await eventually(follows, "it has what the other has, nothing")
        assert "is a replica and takes no writes" in await refused(ledger)
        server.command("REPLICAOF", "NO", "ONE")
        assert "has not been rebuilt yet" in await refused(ledger)
        await back(ledger)


async def test_a_primary_behind_the_same_name_is_found_when_the_old_one_is_a_replica(
    server: RedisServer,
) -> None:
    """As a Service does it: connections stay with the old one until they are closed."""
    with RedisServer() as other:
        async with Relay(server.port) as relay:
            address = Address(Kind.SINGLE, ((HOST, relay.port),))
            async with ledger_at(address) as ledger:
                await rebuild(ledger)
                server.command("REPLICAOF", HOST, other.port)
                relay.leads_to(other.port)
                await back(ledger)
                assert other.command("EXISTS", KEY) == 1


async def test_a_rebuild_does_not_wait_for_a_primary_that_has_gone_without_a_word(
    server: RedisServer,
) -> None:
    with RedisServer() as other:
        await _is_rebuilt_on(other, instead_of=server)


async def _is_rebuilt_on(
    other: RedisServer, *, instead_of: RedisServer, tls: Tls | None = None
) -> None:
    async with (
        Relay(instead_of.port) as relay,
        ledger_at(Address(Kind.SINGLE, ((HOST, relay.port),), tls=tls)) as ledger,
    ):
        await rebuild(ledger)
        instead_of.stop()
        relay.leads_to(other.port)
        await rebuild(ledger)
        assert await ledger.occupancy("default") == COUNTED
        instead_of.go_on()


# Redis does not know us --------------------------------------------------------------------------


async def test_a_wrong_password_is_said_and_not_repeated(server: RedisServer) -> None:
    server.command("CONFIG", "SET", "requirepass", "right")
    try:
        for login in (Login(None, "hunter2"), Login("nobody", "hunter2")):
            async with ledger_at(at(server, login)) as ledger:
                told = await refused(ledger)
                assert told.endswith("does not accept user and password")
                assert "hunter2" not in told
        async with ledger_at(at(server)) as ledger:
            assert (await refused(ledger)).endswith("wants a password")
        async with ledger_at(at(server, Login(None, "right"))) as ledger:
            await back(ledger)
    finally:
        with server.client(password="right") as client:
            client.config_set("requirepass", "")


async def test_a_password_that_is_changed_is_read_again(server: RedisServer) -> None:
    file = server.folder / "password"
    file.write_text("first\n")
    server.command("CONFIG", "SET", "requirepass", "first")
    async with ledger_at(at(server, Login(password_file=file))) as ledger:
        await rebuild(ledger)
        with server.client(password="first") as client:
            client.config_set("requirepass", "second")
            client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        assert "does not accept user and password" in await refused(ledger)
        file.write_text("second\n")
        await counts_are_exact(ledger)
        file.unlink()
        with server.client(password="second") as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        assert "no password in its file" in await refused(ledger)


async def test_a_user_who_may_do_too_little_is_told_what_is_needed(server: RedisServer) -> None:
    server.command("ACL", "SETUSER", "small", "on", ">p", "~*", "+@all", "-info")
    async with ledger_at(at(server, Login("small", "p"))) as ledger:
        assert "does not let this user run what the ledger needs" in await refused(ledger)
    needed = "evalsha eval info time pexpire hget hmget hset hdel hincrby hgetall"
    allowed = [f"+{command}" for command in needed.split()]
    server.command("ACL", "SETUSER", "enough", "on", ">p", f"~{KEY}", "-@all", *allowed)
    async with ledger_at(at(server, Login("enough", "p"))) as ledger:
        await back(ledger)
        await ledger.keep()
        await ledger.release("u1", "default")


# Two who keep it ---------------------------------------------------------------------------------


async def test_who_began_a_list_last_keeps_it_and_nothing_of_the_one_before_counts(
    server: RedisServer, ledger: RedisLedger
) -> None:
    await ledger.begin()
    async with ledger_at(at(server)) as successor:
        await successor.begin()
        ghost = Holder("ghost", "default", "team-a", State.RUNNING)
        for late in (
            ledger.reconcile({}),
            ledger.hold(ghost),
            ledger.release("one", "default"),
            ledger.keep(),
        ):
            with pytest.raises(LedgerUnavailableError, match=r"^another process keeps the ledger"):
                await late
        assert await ledger.occupancy("default") == COUNTED
        assert await submit(ledger), "everybody may reserve"
        await successor.reconcile(FOUND)
        await successor.release("new", "default")
        await counts_are_exact(successor)


# What is kept there ------------------------------------------------------------------------------


async def test_a_reservation_is_dated_by_the_clock_of_the_server(
    server: RedisServer, ledger: RedisLedger
) -> None:
    seconds, _ = server.command("TIME")
    assert await submit(ledger)
    since = int(server.command("HGET", KEY, "r/new").partition("/")[0]) / 1000
    assert 0 <= since - int(seconds) < 60
    await ledger.begin()
    assert await ledger.reconcile(FOUND) == {}
    assert await ledger.occupancy("default") == Occupancy(running=1, waiting=2, parked=1)


async def test_one_key_that_expires_is_all_and_what_is_over_leaves_nothing(
    server: RedisServer, ledger: RedisLedger
) -> None:
    fields = set(server.command("HGETALL", KEY))
    for n in range(30):
        uid, queue, namespace = f"u{n}", f"queue-{n % 3}", f"team-{n % 7}"
        wanted = Reservation(uid, queue, namespace, name=f"name-{n}")
        assert (await ledger.reserve(wanted, LIMITS, dry_run=False)).admitted
    for n in range(30):
        await ledger.release(f"u{n}", "")
    assert set(server.command("HGETALL", KEY)) == fields
    assert server.command("KEYS", "*") == [KEY]
    assert 0 < server.command("PTTL", KEY) <= 86_400_000


async def test_nothing_is_searched_for(server: RedisServer, ledger: RedisLedger) -> None:
    await counts_are_exact(ledger)
    used = {name.removeprefix("cmdstat_") for name in _statistics(server)}
    assert {"evalsha", "hget"} <= used
    assert not {each for each in used if each.startswith(("keys", "scan", "hscan", "sscan"))}


def _statistics(server: RedisServer) -> list[str]:
    with server.client() as client:
        return list(client.info("commandstats"))


async def test_counts_that_are_wrong_are_found_and_put_right(
    server: RedisServer, ledger: RedisLedger
) -> None:
    server.command("HINCRBY", KEY, "c/default//waiting", 7)
    server.command("HDEL", KEY, "c/default/team-a/running", "s/default")
    await ledger.begin()
    assert await ledger.reconcile(FOUND) == {"count": 2}
    await counts_are_exact(ledger)
    await ledger.begin()
    assert "count" not in await ledger.reconcile(FOUND)


# Sentinel, Cluster -------------------------------------------------------------------------------


async def test_sentinels_lead_to_the_next_primary_which_is_rebuilt_first() -> None:
    with ExitStack() as stack:
        primary, replica = (stack.enter_context(RedisServer()) for _ in range(2))
        replica.command("REPLICAOF", HOST, primary.port)
        sentinel = stack.enter_context(SentinelServer("main", primary))

        async def known() -> bool:
            return bool(sentinel.command("SENTINEL", "REPLICAS", "main"))

        await eventually(known, "the Sentinel knows the replica", within=20)
        address = Address(Kind.SENTINEL, ((HOST, sentinel.port),), service="main")
        async with ledger_at(address) as ledger:
            await rebuild(ledger)
            await counts_are_exact(ledger)

            async def copied() -> bool:
                return bool(replica.command("HEXISTS", KEY, "h/one"))

            await eventually(copied, "the replica has it")
            primary.kill()

            async def failed_over() -> bool:
                return "has not been rebuilt yet" in await refused(ledger)

            await eventually(failed_over, "the replica is the primary, and closed", within=30)
            await rebuild(ledger)
            assert await ledger.occupancy("default") == Occupancy(running=1, waiting=53, parked=1)
            for n in range(94):
                await ledger.release(f"u{n}", "default")
            await counts_are_exact(ledger)


async def test_without_a_primary_sentinels_are_named() -> None:
    with RedisServer() as primary, SentinelServer("main", primary) as sentinel:
        address = Address(Kind.SENTINEL, ((HOST, sentinel.port),), service="other")
        async with ledger_at(address) as ledger:
            assert await refused(ledger) == (
                f"Redis other of the Sentinels {HOST}:{sentinel.port}"
                " has no primary that a Sentinel knows"
            )


async def test_in_a_cluster_one_node_has_it_and_without_that_node_it_is_closed() -> None:
    with ExitStack() as stack:
        nodes = [stack.enter_context(ClusterNode()) for _ in range(3)]
        slots = ((0, 5460), (5461, 10922), (10923, 16383))
        for node, (first, last) in zip(nodes, slots, strict=True):
            node.command("CLUSTER", "ADDSLOTSRANGE", first, last)
            node.command("CLUSTER", "MEET", HOST, nodes[0].port, nodes[0].bus)

        async def formed() -> bool:
            told = [node.command("CLUSTER", "INFO") for node in nodes]
            return all("cluster_state:ok" in each for each in told)

        await eventually(formed, "the cluster is there", within=20)
        address = Address(Kind.CLUSTER, tuple((HOST, node.port) for node in nodes))
        async with ledger_at(address) as ledger:
            await rebuild(ledger)
            await counts_are_exact(ledger)
            slot = nodes[0].command("CLUSTER", "KEYSLOT", KEY)
            [node] = [
                node
                for node, (first, last) in zip(nodes, slots, strict=True)
                if first <= slot <= last
            ]
            node.kill()
            assert await refused(ledger)
            node.start()

            async def closed() -> bool:
                return "has not been rebuilt yet" in await refused(ledger)

            await eventually(closed, "the node is back, and empty", within=20)
            await back(ledger)


# TLS ---------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder: authority, certificate and key of a server, certificate and key of a client."""
    issued = issue([HOST], datetime.now(UTC))
    certificate, key = _self_signed("client")
    (tmp_path / "ca.crt").write_bytes(issued.authority)
    (tmp_path / "tls.crt").write_bytes(issued.certificate)
    (tmp_path / "tls.key").write_bytes(issued.key)
    (tmp_path / "client.crt").write_bytes(certificate)
    (tmp_path / "client.key").write_bytes(key)
    return tmp_path


def _self_signed(name: str) -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return certificate.public_bytes(pem), key.private_bytes(pem, *plain)


def _over_tls(files: Path, authority: str, clients: str) -> RedisServer:
    pair = ("--tls-cert-file", str(files / "tls.crt"), "--tls-key-file", str(files / "tls.key"))
    trusted = ("--tls-ca-cert-file", str(files / authority), "--tls-auth-clients", clients)
    client = {"ssl": True, "ssl_ca_certs": str(files / "ca.crt")}
    client |= {"ssl_certfile": str(files / "client.crt"), "ssl_keyfile": str(files / "client.key")}
    return RedisServer(tls=(*pair, *trusted), **client)


async def test_over_tls_the_server_must_be_who_it_says(files: Path) -> None:
    with _over_tls(files, "ca.crt", "no") as server:
        hosts = ((HOST, server.port),)
        async with ledger_at(Address(Kind.SINGLE, hosts, tls=Tls(files / "ca.crt"))) as ledger:
            await rebuild(ledger)
            server.kill()
            assert "cannot be reached" in await refused(ledger)
            server.start()
            await back(ledger)
        async with ledger_at(Address(Kind.SINGLE, hosts, tls=Tls())) as ledger:
            assert await refused(ledger) == (
                f"Redis at {HOST}:{server.port} cannot be spoken to with TLS:"
                " self-signed certificate in certificate chain"
            )
        named = (("localhost", server.port),)
        async with ledger_at(Address(Kind.SINGLE, named, tls=Tls(files / "ca.crt"))) as ledger:
            assert "certificate is not valid for 'localhost'" in await refused(ledger)
        async with ledger_at(Address(Kind.SINGLE, hosts)) as ledger:
            assert "cannot be reached" in await refused(ledger)


async def test_over_tls_a_primary_that_has_gone_is_not_waited_for_either(files: Path) -> None:
    with _over_tls(files, "ca.crt", "no") as server, _over_tls(files, "ca.crt", "no") as other:
        await _is_rebuilt_on(other, instead_of=server, tls=Tls(files / "ca.crt"))


async def test_over_tls_we_can_say_who_we_are(files: Path) -> None:
    with _over_tls(files, "client.crt", "yes") as server:
        hosts = ((HOST, server.port),)
        tls = Tls(files / "ca.crt", files / "client.crt", files / "client.key")
        async with ledger_at(Address(Kind.SINGLE, hosts, tls=tls)) as ledger:
            await back(ledger)
        async with ledger_at(Address(Kind.SINGLE, hosts, tls=Tls(files / "ca.crt"))) as ledger:
            told = await refused(ledger)  # of the alert, or of the connection that ends with it
            assert "cannot be spoken to with TLS" in told or "cannot be reached" in told
