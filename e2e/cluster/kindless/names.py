"""The names of Services, asked for as a pod asks for them."""

import socket
import struct

SERVER = "10.96.0.10"
DOMAIN = "cluster.local"


def known(name: str, seconds: float = 1) -> bool:
    """Whether the cluster's name server has an address for NAME; False also if it is silent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(seconds)
        try:
            asking.connect((SERVER, 53))
            asking.send(question(name))
            return answers(asking.recv(512))
        except OSError:
            return False


def question(name: str) -> bytes:
    """A question for an IPv4 address, in the form of RFC 1035; its id is 1."""
    header = struct.pack("!6H", 1, 0, 1, 0, 0, 0)
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return header + labels + struct.pack("!B2H", 0, 1, 1)


def answers(reply: bytes) -> bool:
    """Whether a reply to such a question has an address in it."""
    if len(reply) < 12:
        return False
    identity, flags, _, records, _, _ = struct.unpack("!6H", reply[:12])
    failure = flags & 0xF
    return identity == 1 and not failure and bool(records)
