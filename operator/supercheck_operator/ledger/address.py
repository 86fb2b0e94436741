"""Where Redis is and how it is talked to, from what is said in the environment. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

PORT: Final = 6379
SENTINEL_PORT: Final = 26379
_PORT_LIMIT: Final = 65535
_FORMS: Final = (
    "it must be like redis://HOST:6379/0, redis+sentinel://HOST:26379,HOST:26379/NAME or"
    " redis+cluster://HOST:6379,HOST:6379; rediss instead of redis for TLS"
)


class Kind(Enum):
    """Who is asked first, and for what."""

    SINGLE = "redis"
    SENTINEL = "redis+sentinel"
    CLUSTER = "redis+cluster"


_SCHEMES: Final = {
    "redis": (Kind.SINGLE, False),
    "rediss": (Kind.SINGLE, True),
    "redis+sentinel": (Kind.SENTINEL, False),
    "rediss+sentinel": (Kind.SENTINEL, True),
    "sentinel": (Kind.SENTINEL, False),
    "redis+cluster": (Kind.CLUSTER, False),
    "rediss+cluster": (Kind.CLUSTER, True),
}


class AddressError(ValueError):
    """An address that cannot be right. Its text never holds the address: that has secrets in it."""


@dataclass(frozen=True, slots=True)
class Login:
    """Who we are. The password file is read at each connection, so it may be changed."""

    username: str | None = None
    password: str | None = None
    password_file: Path | None = None

    def __repr__(self) -> str:
        return "Login(…)"


@dataclass(frozen=True, slots=True)
class Tls:
    """Files in PEM; without an authority, the system's are trusted."""

    authority: Path | None = None
    certificate: Path | None = None
    key: Path | None = None


@dataclass(frozen=True, slots=True)
class Address:
    """One server; or Sentinels that know where ``service`` is; or some nodes of a cluster."""

    kind: Kind
    hosts: tuple[tuple[str, int], ...]
    login: Login = Login()
    sentinel_login: Login = Login()
    tls: Tls | None = None
    database: int = 0
    service: str = ""

    def __str__(self) -> str:
        where = ", ".join(f"{host}:{port}" for host, port in self.hosts)
        match self.kind:
            case Kind.SINGLE:
                return f"Redis at {where}"
            case Kind.SENTINEL:
                return f"Redis {self.service} of the Sentinels {where}"
            case Kind.CLUSTER:
                return f"Redis cluster at {where}"


def parse(url: str, login: Login, tls: Tls) -> Address:
    """The address that ``url`` says; ``login`` says what of it the URL does not.

    Raises AddressError.
    """
    scheme, mark, rest = url.strip().partition("://")
    if not mark or scheme not in _SCHEMES:
        raise AddressError(f"it has no scheme that is known: {_FORMS}")
    kind, secure = _SCHEMES[scheme]
    # Several hosts are no URL to the standard library: it reads the rest of it.
    parts = urlsplit(f"redis://{rest}")
    user, at, hosts = parts.netloc.rpartition("@")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    known = {"sentinel_username", "sentinel_password"} if kind is Kind.SENTINEL else set()
    if unknown := options.keys() - known:
        raise AddressError(f"it has an option that is not known, {min(unknown)[:40]!r}")
    default = SENTINEL_PORT if kind is Kind.SENTINEL else PORT
    path = unquote(parts.path).strip("/")
    service, database = "", path
    if kind is Kind.SENTINEL:
        service, _, database = path.partition("/")
        if not service:
            raise AddressError("it does not say the name of the primary: …/NAME")
    if kind is Kind.CLUSTER and database not in ("", "0"):
        raise AddressError("a cluster has only database 0")
    return Address(
        kind,
        _hosts(hosts, default, several=kind is not Kind.SINGLE),
        login=_login(user, login) if at else login,
        sentinel_login=Login(
            options.get("sentinel_username") or None, options.get("sentinel_password") or None
        ),
        tls=tls if secure else None,
        database=_number(database or "0", "database", 2**31),
        service=service,
    )


def _login(user: str, otherwise: Login) -> Login:
    name, colon, password = user.partition(":")
    username = unquote(name) or otherwise.username
    if not colon:
        return Login(username, otherwise.password, otherwise.password_file)
    return Login(username, unquote(password) or None)


def _hosts(said: str, default: int, *, several: bool) -> tuple[tuple[str, int], ...]:
    found = []
    for each in said.split(","):
        host, bracket, rest = each.partition("]")
        if bracket:  # [::1]:6379
            host, port = host.removeprefix("["), rest.removeprefix(":")
        else:
            host, _, port = each.partition(":")
        if not host:
            raise AddressError(f"it names no host: {_FORMS}")
        found.append((host, _number(port, "port", _PORT_LIMIT) if port else default))
    if len(found) > 1 and not several:
        raise AddressError(
            f"it names several hosts, which only Sentinels and clusters are: {_FORMS}"
        )
    return tuple(found)


def _number(said: str, what: str, limit: int) -> int:
    """Not shown if it is wrong: an ``@`` too few makes a port of a password."""
    if not (said.isascii() and said.isdigit() and int(said) <= limit):
        raise AddressError(
            f"its {what} is no number from 0 to {limit} (is every special character of the"
            " password written as in a URL, such as %40 for @?)"
        )
    return int(said)
