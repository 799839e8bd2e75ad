"""An upstream over real TLS: answers come whole, connections are kept, and no certificate passes that does not hold."""

import ipaddress
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2 as httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from gateway_house import House, free_port, in_thread
from msgspec.structs import replace

from freehold.gateway.fake_upstream import Dials, FakeUpstream
from freehold.gateway.http_server import listening
from freehold.gateway.serve import Settings

CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}
NOW = datetime.now(UTC)


class Authority:
    """A certificate authority of its own; `cert` is the file that its clients trust."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._key = folder, ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "an authority of its own")])
        ca = x509.BasicConstraints(ca=True, path_length=0)
        made = self._builder(self._key, self._name, NOW + timedelta(days=1)).add_extension(ca, critical=True)
        self.cert = folder / "authority.pem"
        self.cert.write_bytes(made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def signed(self, host: str, until: datetime = NOW + timedelta(days=1)) -> Settings:
        """How a server on a free port is run, that shows a certificate for this host."""
        key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
        named = x509.IPAddress(ipaddress.ip_address(host)) if host[0].isdigit() else x509.DNSName(host)
        names = x509.SubjectAlternativeName([named])
        made = self._builder(key, name, until).add_extension(names, critical=True).sign(self._key, hashes.SHA256())
        cert, secret = self._folder / "server.pem", self._folder / "server.key"
        cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        plain = serialization.NoEncryption()
        form = serialization.PrivateFormat.PKCS8
        secret.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, plain))
        return Settings(port=free_port(), tls_cert=str(cert), tls_key=str(secret))

    def _builder(self, key: ec.EllipticCurvePrivateKey, name: x509.Name, until: datetime) -> x509.CertificateBuilder:
        made = x509.CertificateBuilder().subject_name(name).issuer_name(self._name).public_key(key.public_key())
        made = made.serial_number(x509.random_serial_number())
        return made.not_valid_before(NOW - timedelta(days=30)).not_valid_after(until)


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """One that this process trusts."""
    made = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(made.cert))
    return made


@contextmanager
def between(house: House, shown: Settings, host: str = "127.0.0.1") -> Iterator[FakeUpstream]:
    """The gateway in front of the fake upstream that ships, which speaks TLS only."""
    upstream = FakeUpstream(Dials())
    house.settings = replace(house.settings, upstream=f"https://{host}:{shown.port}/v1")

    @asynccontextmanager
    async def answering() -> AsyncIterator[None]:
        async with listening(upstream, shown.address):
            yield

    with in_thread(answering), house.open():
        yield upstream


def ask(house: House, **more: object) -> httpx.Response:
    return httpx.post(f"{house.url}/v1/chat/completions", json={**CHAT, **more}, timeout=30)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_whole_answers_and_streams_come_through_tls(house: House, authority: Authority, host: str) -> None:
    with between(house, authority.signed(host), host):
        answers = [ask(house) for _ in range(3)]
        assert [each.status_code for each in answers] == [200] * 3
        assert all(each.json()["choices"] for each in answers)
        assert ask(house, stream=True).text.endswith("data: [DONE]\n\n")
        long = ask(house, messages=[{"role": "user", "content": "long " * 200_000}])  # many TLS records
        assert long.status_code == 200
        kept = house.kept()
    assert len(kept) == 5 and all(each.finished for each in kept)


@pytest.mark.parametrize(
    ("shown", "why"),
    [
        (lambda authority: authority.signed("elsewhere.example"), "IP address mismatch"),
        (lambda authority: authority.signed("127.0.0.1", NOW - timedelta(days=2)), "certificate has expired"),
    ],
    ids=["another host's", "expired"],
)
def test_a_certificate_that_does_not_hold_is_one_clear_sentence(
    house: House, authority: Authority, shown: Callable[[Authority], Settings], why: str
) -> None:
    with between(house, shown(authority)):
        refused(ask(house), why)
        refused(ask(house, stream=True), why)


def test_an_authority_that_nobody_named_is_not_trusted(
    house: House, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    assert str(authority.cert) not in ssl.get_default_verify_paths()
    with between(house, authority.signed("127.0.0.1")):
        refused(ask(house), "unable to get local issuer certificate")


def test_plain_http_where_tls_is_due_is_no_answer(house: House, authority: Authority) -> None:
    shown = replace(authority.signed("127.0.0.1"), tls_cert=None, tls_key=None)
    with between(house, shown):
        answer = ask(house)
        assert answer.status_code == 502 and "cannot be reached" in answer.json()["error"]["message"]


def refused(answer: httpx.Response, why: str) -> None:
    said = answer.json()["error"]["message"]
    assert answer.status_code == 502 and said.count("\n") == 0
    assert "shows a certificate that does not hold here" in said and why in said and "SSL_CERT_FILE" in said
