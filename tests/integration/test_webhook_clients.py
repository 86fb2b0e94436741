"""A webhook that answers only an API server that shows its certificate; and one that does."""

import base64
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from conftest import Cluster, run_cluster
from harness.api import Space, execution
from harness.process import Operator
from harness.steps import until
from harness.webhook import review

ADMISSION = """
apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
  - name: ValidatingAdmissionWebhook
    configuration:
      apiVersion: apiserver.config.k8s.io/v1
      kind: WebhookAdmissionConfiguration
      kubeConfigFile: {folder}/webhooks.yaml
"""
CLIENTS = """
apiVersion: v1
kind: Config
users:
  - name: 127.0.0.1:{port}
    user: {{client-certificate: {folder}/client.crt, client-key: {folder}/client.key}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clients")


@pytest.fixture(scope="module")
def operator(folder: Path) -> Operator:
    made = Operator(
        folder / "kubeconfig", folder / "log", WEBHOOK_CLIENT_CA_FILE=str(folder / "ca.crt")
    )
    (folder / "admission.yaml").write_text(ADMISSION.format(folder=folder))
    port = made.webhook_port
    (folder / "webhooks.yaml").write_text(CLIENTS.format(folder=folder, port=port))
    return made


@pytest.fixture(scope="module")
def cluster(folder: Path, operator: Operator) -> Iterator[Cluster]:
    """Its own authority signs for the API server here: whom it has signed for is at hand."""
    extra = ("--admission-config", folder / "admission.yaml")
    with run_cluster(folder / "kubeconfig", *extra) as made:
        config = yaml.safe_load(made.kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        for name, data in (
            ("ca.crt", cluster["certificate-authority-data"]),
            ("client.crt", user["client-certificate-data"]),
            ("client.key", user["client-key-data"]),
        ):
            (folder / name).write_bytes(base64.b64decode(data))
        yield made


async def test_only_who_shows_a_certificate_of_the_authority_is_answered(
    operator: Operator, space: Space, folder: Path
) -> None:
    await operator.start()
    try:
        await space.submit(execution("by-the-api-server", runs_for="0s"))
        await until(space, "by-the-api-server", "Passed")
        anybody, known = _client(), _client()
        known.load_cert_chain(folder / "client.crt", folder / "client.key")
        assert await _asked(operator, known) == 200
        with pytest.raises((aiohttp.ClientError, ConnectionError)):
            await _asked(operator, anybody)
        # What another authority has signed, for somebody of the same name, is nothing here.
        stranger = _client()
        stranger.load_cert_chain(*_signed_by_another(folder))
        with pytest.raises((aiohttp.ClientError, ConnectionError)):
            await _asked(operator, stranger)
        assert "Traceback" not in operator.log
    finally:
        operator.stop()


async def test_an_api_server_that_shows_none_gets_no_answer_and_creates_nothing(
    operator: Operator, space: Space, folder: Path
) -> None:
    """None that is of use, that is: another authority is asked for than the one that signed it."""
    certificate, _ = _signed_by_another(folder)
    (folder / "ca.crt").write_bytes(certificate.read_bytes())
    await operator.start()
    try:
        status, answer = await space.try_submit(execution("nobody"))
        assert status == 500, answer
        assert "failed calling webhook" in answer["message"]
        assert await space.phases() == {}
    finally:
        operator.stop()


def _client() -> ssl.SSLContext:
    tls = ssl.create_default_context()
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    return tls


async def _asked(operator: Operator, tls: ssl.SSLContext) -> int:
    url = f"https://127.0.0.1:{operator.webhook_port}/validate"
    connector = aiohttp.TCPConnector(ssl=tls)
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.post(url, json=review()) as response,
    ):
        return response.status


def _signed_by_another(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate and its key, for the subject of the one that is known."""
    subject = x509.load_pem_x509_certificate((folder / "client.crt").read_bytes()).subject
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = folder / "other.crt", folder / "other.key"
    certificate_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate_file, key_file
