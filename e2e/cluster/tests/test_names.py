import pytest

from kindless import names

# What CoreDNS says of web.default.svc.cluster.local, and that it knows no such name.
ASKED = bytes.fromhex(
    "03776562 0764656661756c74 03737663 07636c7573746572 056c6f63616c 00 0001 0001"
)
ADDRESS = bytes.fromhex("c00c 0001 0001 00000005 0004 0a6021d5")
FOUND = bytes.fromhex("0001 8500 0001 0001 0000 0000") + ASKED + ADDRESS
NO_SUCH_NAME = bytes.fromhex("0001 8503 0001 0000 0000 0000") + ASKED


def test_a_question_is_as_rfc_1035_has_it() -> None:
    header = bytes.fromhex("0001 0000 0001 0000 0000 0000")
    assert names.question("web.default.svc.cluster.local") == header + ASKED


@pytest.mark.parametrize(
    ("reply", "known"),
    [
        (FOUND, True),
        (NO_SUCH_NAME, False),
        (b"\0\2" + FOUND[2:], False),  # the answer to another question
        (FOUND[:7] + b"\0" + FOUND[8:], False),  # the name is there, an address is not
        (b"", False),
    ],
)
def test_only_an_address_for_this_question_is_an_answer(reply: bytes, known: bool) -> None:
    assert names.answers(reply) is known
