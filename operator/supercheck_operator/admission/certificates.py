"""A certificate authority and a serving certificate of our own."""

from __future__ import annotations

import ipaddress
import ssl
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME: Final = timedelta(days=90)
_CLOCK_SKEW: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Certificates:
    """What the webhook serves with, and what the API server must trust. All PEM."""

    authority: bytes
    certificate: bytes
    key: bytes

    @property
    def expires(self) -> datetime:
        """When the certificate is valid no more."""
        return self._leaf().not_valid_after_utc

    @property
    def renewed(self) -> datetime:
        """When another one should take its place: at two thirds of its life."""
        leaf = self._leaf()
        life = leaf.not_valid_after_utc - (leaf.not_valid_before_utc + _CLOCK_SKEW)
        return leaf.not_valid_after_utc - life / 3

    @property
    def names(self) -> frozenset[str]:
        """The DNS names and addresses that it is for."""
        found = self._leaf().extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return frozenset(str(name.value) for name in found)

    def load_into(self, context: ssl.SSLContext) -> None:
        """Serve with it from the next handshake on. The key is on disk only meanwhile.

        Raises ssl.SSLError if key and certificate are not a pair.
        """
        with tempfile.TemporaryDirectory(prefix="supercheck-") as folder:
            certificate, key = Path(folder, "tls.crt"), Path(folder, "tls.key")
            certificate.write_bytes(self.certificate)
            key.write_bytes(self.key)
            context.load_cert_chain(certificate, key)

    def _leaf(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.certificate)


def server_context(clients: Path | None = None) -> ssl.SSLContext:
    """For a server: TLS 1.2 or newer, with no certificate yet.

    With ``clients``, a file of authorities, only for those who have a certificate of one of them.
    Raises OSError, which ssl.SSLError is, if it cannot be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if clients is not None:
        context.load_verify_locations(clients)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def issue(names: Sequence[str], now: datetime, lifetime: timedelta = LIFETIME) -> Certificates:
    """A new authority and a leaf of it for ``names`` (DNS names or addresses).

    The authority's key is not kept: it signs this one leaf, and both are replaced together.
    """
    life = now - _CLOCK_SKEW, now + lifetime
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority_name = _name("supercheck-operator CA")
    authority = (
        _builder(authority_name, authority_name, authority_key.public_key(), life)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        _builder(_name("supercheck-operator"), authority_name, key.public_key(), life)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False
        )
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()),
            critical=False,
        )
        .sign(authority_key, hashes.SHA256())
    )
    return Certificates(
        authority=authority.public_bytes(serialization.Encoding.PEM),
        certificate=certificate.public_bytes(serialization.Encoding.PEM),
        key=key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    life: tuple[datetime, datetime],
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(life[0])
        .not_valid_after(life[1])
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
