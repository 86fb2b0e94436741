from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509

from supercheck_operator.admission.certificates import Certificates, issue, server_context

NOW = datetime.now(UTC)
NAMES = ("127.0.0.1", "::1", "supercheck-operator.supercheck.svc")


@pytest.fixture(scope="module")
def issued() -> Certificates:
    return issue(NAMES, NOW)


def serving(issued: Certificates) -> ssl.SSLContext:
    context = server_context()
    issued.load_into(context)
    return context


def shake_hands(
    served: Certificates | ssl.SSLContext, name: str, authority: bytes
) -> ssl.SSLObject:
    """A client and a server in memory; the client's side once both agree."""
    client_context = ssl.create_default_context(cadata=authority.decode())
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server, server_hostname=name)
    context = serving(served) if isinstance(served, Certificates) else served
    server = context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return client


@pytest.mark.parametrize("name", NAMES)
def test_a_client_that_trusts_the_authority_trusts_the_server(
    issued: Certificates, name: str
) -> None:
    assert shake_hands(issued, name, issued.authority).version() == "TLSv1.3"


def test_a_name_it_was_not_issued_for_is_refused(issued: Certificates) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(issued, "example.com", issued.authority)


def test_another_authority_is_not_trusted(issued: Certificates) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(issued, "127.0.0.1", issue(NAMES, NOW).authority)


def test_the_server_speaks_no_tls_before_1_2() -> None:
    assert server_context().minimum_version == ssl.TLSVersion.TLSv1_2


def test_a_server_for_some_clients_asks_for_their_certificate(
    issued: Certificates, tmp_path: Path
) -> None:
    assert server_context().verify_mode is ssl.CERT_NONE
    file = tmp_path / "ca.crt"
    file.write_bytes(issued.authority)
    context = server_context(file)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert len(context.get_ca_certs()) == 1
    file.write_text("none")
    with pytest.raises(ssl.SSLError):
        server_context(file)


def test_the_key_does_not_stay_on_the_disk(
    issued: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    serving(issued)
    assert list(tmp_path.iterdir()) == []


def test_a_running_server_takes_another_certificate_from_the_next_handshake_on(
    issued: Certificates,
) -> None:
    context, other = serving(issued), issue(NAMES, NOW)
    other.load_into(context)
    assert shake_hands(context, "127.0.0.1", other.authority).version() == "TLSv1.3"
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(context, "127.0.0.1", issued.authority)


def test_a_certificate_is_valid_90_days_and_for_clocks_that_are_slow() -> None:
    now = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
    issued = issue(NAMES, now)
    leaf = x509.load_pem_x509_certificate(issued.certificate)
    assert leaf.not_valid_before_utc == now - timedelta(minutes=5)
    assert leaf.not_valid_after_utc == issued.expires == now + timedelta(days=90)


@pytest.mark.parametrize("days", [1, 3, 90, 365])
def test_it_is_renewed_at_two_thirds_of_its_life(days: int) -> None:
    now = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
    issued = issue(NAMES, now, timedelta(days=days))
    assert issued.renewed == now + timedelta(days=days) * 2 / 3


def test_it_knows_its_names(issued: Certificates) -> None:
    assert issued.names == set(NAMES)


def test_addresses_are_addresses_and_names_are_names(issued: Certificates) -> None:
    leaf = x509.load_pem_x509_certificate(issued.certificate)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.IPAddress) == [ip_address(name) for name in NAMES[:2]]
    assert names.get_values_for_type(x509.DNSName) == [NAMES[2]]


def test_the_leaf_can_sign_no_other(issued: Certificates) -> None:
    leaf = x509.load_pem_x509_certificate(issued.certificate)
    authority = x509.load_pem_x509_certificate(issued.authority)
    basic = x509.BasicConstraints
    assert not leaf.extensions.get_extension_for_class(basic).value.ca
    assert authority.extensions.get_extension_for_class(basic).value.path_length == 0
    assert not leaf.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
