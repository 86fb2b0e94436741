"""A connection to Redis, of whatever kind: everything that a name, a port or TLS needs to know."""

from __future__ import annotations

import ssl
from contextlib import suppress
from typing import Any, Final, cast

from redis import exceptions
from redis.asyncio import Redis, RedisCluster, Sentinel
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, SentinelConnectionPool
from redis.backoff import ExponentialWithJitterBackoff
from redis.credentials import CredentialProvider

from supercheck_operator.ledger.address import Address, Kind, Login, Tls

Client = Redis | RedisCluster

CONNECTIONS: Final = 8
"""To one server, at once; each costs a handshake, and Redis does one thing at a time anyway."""
_CONNECTED: Final = 1.0
"""Seconds for a connection."""
_ANSWERED: Final = 1.0
"""Seconds for an answer; what has none by then is asked anew, on another connection."""
_RETRIES: Final = 3
_SHOWN: Final = 200
"""Characters of an error that are shown."""
_BACKOFF: Final = ExponentialWithJitterBackoff(cap=0.3, base=0.05)


class _PasswordFile(CredentialProvider):
    def __init__(self, login: Login) -> None:
        self._login = login

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        assert self._login.password_file is not None
        try:
            password = self._login.password_file.read_text().strip()
        except OSError as error:
            raise exceptions.AuthenticationError(
                f"no password in its file: {error.strerror}"
            ) from error
        return (self._login.username, password) if self._login.username else (password,)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        return self.get_credentials()  # a small file in memory


def connect(address: Address, answered: float = _ANSWERED) -> Client:
    """A client that connects when it is used, and waits so many seconds for an answer.

    Every call it retries must bear it.
    """
    common = {**_options(address.login, answered), **_tls(address.tls)}
    match address.kind:
        case Kind.SINGLE:
            [(host, port)] = address.hosts
            return Redis(host=host, port=port, db=address.database, **common)
        case Kind.SENTINEL:
            asked = {**_options(address.sentinel_login, _ANSWERED), **_tls(address.tls)}
            make: Any = Sentinel  # has no annotations
            sentinel = make(list(address.hosts), sentinel_kwargs=asked, **common)
            return cast("Redis", sentinel.master_for(address.service, db=address.database))
        case Kind.CLUSTER:
            return RedisCluster(
                startup_nodes=[ClusterNode(host, port) for host, port in address.hosts],
                # What they are called outlives the addresses that they tell each other.
                dynamic_startup_nodes=False,
                require_full_coverage=False,
                **common,
            )


async def close(client: Client) -> None:
    """Close its connections, and those to Sentinels, which are not its own."""
    await client.aclose()
    pool = getattr(client, "connection_pool", None)
    if isinstance(pool, SentinelConnectionPool):
        await pool.sentinel_manager.aclose()


async def reconnect(client: Client) -> None:
    """Ask anew who is there under its name; a cluster asks by itself."""
    pool = getattr(client, "connection_pool", None)
    if pool is not None:
        # A goodbye over TLS waits for an answer, and fails without one: it is closed all the same.
        with suppress(exceptions.TimeoutError):
            await pool.disconnect()


def _options(login: Login, answered: float) -> dict[str, Any]:
    options: dict[str, Any] = {
        "decode_responses": True,
        "protocol": 2,
        "socket_timeout": answered,
        "socket_connect_timeout": _CONNECTED,
        "max_connections": 2 * CONNECTIONS,
        "retry": Retry(_BACKOFF, _RETRIES),
    }
    if login.password_file is not None:
        return options | {"credential_provider": _PasswordFile(login)}
    return options | {"username": login.username, "password": login.password}


def _tls(tls: Tls | None) -> dict[str, Any]:
    if tls is None:
        return {}
    return {
        "ssl": True,
        "ssl_min_version": ssl.TLSVersion.TLSv1_2,
        "ssl_ca_certs": str(tls.authority) if tls.authority else None,
        "ssl_certfile": str(tls.certificate) if tls.certificate else None,
        "ssl_keyfile": str(tls.key) if tls.key else None,
    }


_WORDS: Final = {
    "OOM": "is out of memory",
    "READONLY": "is a replica and takes no writes",
    "LOADING": "still loads its data",
    "MASTERDOWN": "is a replica without its primary",
    "CLUSTERDOWN": "is down: not all of its nodes are there",
    "MISCONF": "cannot save its data and takes no writes",
    "NOREPLICAS": "has too few replicas and takes no writes",
    "NOAUTH": "wants a password",
    "WRONGPASS": "does not accept user and password",
    "NOPERM": "does not let this user run what the ledger needs: EVALSHA, EVAL, INFO, TIME, PEXPIRE"
    " and the commands of a hash",
    "BUSY": "is busy with a script",
    "UNKILLABLE": "is busy with a script",
}
"""By the first word of an error of Redis, or of redis-py where it took the word away."""
_TEXTS: Final = {
    "invalid username-password": "WRONGPASS",
    "invalid password": "WRONGPASS",
    "Authentication required": "NOAUTH",
    "unauthenticated": "NOAUTH",
    "read only replica": "READONLY",
    "maxmemory": "OOM",
    "loading the dataset": "LOADING",
    "can't run this command": "NOPERM",
    "no permissions": "NOPERM",
}


def why(error: Exception) -> str:
    """What is wrong, as the end of a sentence whose subject is Redis. Nothing secret is in it."""
    text = str(error)[:_SHOWN]
    word = next((word for part, word in _TEXTS.items() if part in text), text.partition(" ")[0])
    if word in _WORDS:
        return _WORDS[word]
    if (tls := _tls_error(error)) is not None:
        return f"cannot be spoken to with TLS: {getattr(tls, 'verify_message', tls.reason)}"
    match error:
        case MasterNotFoundError():
            return "has no primary that a Sentinel knows"
        case exceptions.AuthenticationError():
            return f"cannot be logged in to: {text}"
        case exceptions.ConnectionError():
            return f"cannot be reached: {text.rstrip('.')}"
        case exceptions.TimeoutError() | TimeoutError():
            return "does not answer in time"
        case _:
            return f"cannot be used: {text or type(error).__name__}"


def _tls_error(error: BaseException | None) -> ssl.SSLError | None:
    while error is not None and not isinstance(error, ssl.SSLError):
        error = error.__cause__ or error.__context__
    return error
