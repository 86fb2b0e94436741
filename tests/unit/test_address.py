"""Where Redis is, from every form that says it."""

from __future__ import annotations

from pathlib import Path

import pytest

from supercheck_operator.ledger.address import Address, Kind, Login, Tls, parse

NOBODY = Login()
TLS = Tls(Path("ca"))


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://r", Address(Kind.SINGLE, (("r", 6379),))),
        ("redis://r:1/2", Address(Kind.SINGLE, (("r", 1),), database=2)),
        ("redis://[::1]:7/", Address(Kind.SINGLE, (("::1", 7),))),
        ("redis://:p%40%2F@r", Address(Kind.SINGLE, (("r", 6379),), Login(None, "p@/"))),
        ("rediss://u:p@r", Address(Kind.SINGLE, (("r", 6379),), Login("u", "p"), tls=TLS)),
        ("redis://u:p@q@r", Address(Kind.SINGLE, (("r", 6379),), Login("u", "p@q"))),
        (
            "redis+sentinel://u:p@a,b:2/main/3",
            Address(
                *(Kind.SENTINEL, (("a", 26379), ("b", 2)), Login("u", "p")),
                database=3,
                service="main",
            ),
        ),
        (
            "rediss+sentinel://a/main?sentinel_username=s&sentinel_password=%40",
            Address(
                *(Kind.SENTINEL, (("a", 26379),)),
                sentinel_login=Login("s", "@"),
                tls=TLS,
                service="main",
            ),
        ),
        ("sentinel://a/m", Address(Kind.SENTINEL, (("a", 26379),), service="m")),
        ("redis+cluster://a,b:2", Address(Kind.CLUSTER, (("a", 6379), ("b", 2)))),
        ("rediss+cluster://a", Address(Kind.CLUSTER, (("a", 6379),), tls=TLS)),
    ],
)
def test_every_form_of_a_url_is_understood(url: str, address: Address) -> None:
    assert parse(url, NOBODY, TLS) == address


def test_who_we_are_may_be_said_beside_the_url() -> None:
    beside = Login("u", None, Path("file"))
    assert parse("redis://r", beside, TLS).login == beside
    assert parse("redis://v@r", beside, TLS).login == Login("v", None, Path("file"))
    assert parse("redis://v:p@r", beside, TLS).login == Login("v", "p")


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("redis://u:secret@r", "Redis at r:6379"),
        ("sentinel://u:secret@a,b/main", "Redis main of the Sentinels a:26379, b:26379"),
        ("redis+cluster://u:secret@a:1,b", "Redis cluster at a:1, b:6379"),
    ],
)
def test_it_is_told_to_people_without_its_secrets(url: str, told: str) -> None:
    assert str(parse(url, NOBODY, TLS)) == told
