import pytest

from kindless import images


@pytest.mark.parametrize(
    ("said", "full"),
    [
        ("operator", "docker.io/library/operator:latest"),
        ("operator:dev", "docker.io/library/operator:dev"),
        ("team/operator:dev", "docker.io/team/operator:dev"),
        ("localhost/operator", "localhost/operator:latest"),
        ("registry.example:5000/operator", "registry.example:5000/operator:latest"),
        ("example.org/a@sha256:00", "example.org/a@sha256:00"),
    ],
)
def test_a_name_is_completed_as_kubernetes_does(said: str, full: str) -> None:
    assert images.normalised(said) == full


def test_pip_is_told_of_what_is_set_and_of_nothing_else() -> None:
    assert images.pip_settings({"PATH": "/bin"}) == ""
    settings = images.pip_settings({"PIP_INDEX_URL": "https://pypi.example/simple"})
    assert settings == "[global]\nindex-url = https://pypi.example/simple\n"


def test_pips_own_certificates_come_first() -> None:
    assert images.ca_bundle({}) is None
    assert images.ca_bundle({"SSL_CERT_FILE": "/a", "PIP_CERT": "/b"}) == "/b"
