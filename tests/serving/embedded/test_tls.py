"""TLS, one-sided and mutual, through a real Triton with certificates made for the test."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from cartwheel.core.errors import ServerError, UsageError
from serving.client.client import Client
from serving.client.connection import Tls
from serving.server.questions import Answer, Found, Questions
from serving.server.server import EmbeddedServer
from serving.settings import ServeSettings

x509 = pytest.importorskip("cryptography.x509", reason="the certificates of the TLS tests are made with cryptography")

from cryptography.hazmat.primitives import hashes, serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402


class Authority:
    """A certificate authority that writes PEM files into a folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.root = folder / f"{name}.pem"
        self.root.write_bytes(self._sign(self._name, self._key, x509.BasicConstraints(ca=True, path_length=None)))

    def issue(self, name: str) -> tuple[Path, Path]:
        """Write the certificate and the key of 127.0.0.1 under ``name``; return their files."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        certificate, secret = self._folder / f"{name}.crt", self._folder / f"{name}.key"
        certificate.write_bytes(self._sign(subject, key, address))
        secret.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        return certificate, secret

    def _sign(self, subject: Any, key: Any, extension: Any) -> bytes:
        now = datetime.now(timezone.utc)
        builder = x509.CertificateBuilder(self._name, subject, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=1))
        signed = builder.add_extension(extension, critical=True).sign(self._key, hashes.SHA256())
        pem: bytes = signed.public_bytes(serialization.Encoding.PEM)
        return pem


@pytest.fixture(scope="module")
def shop_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"), "shop")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"), "stranger")


@pytest.fixture(scope="module")
def encrypted(write_repository: Any, shop_authority: Authority) -> Iterator[EmbeddedServer]:
    certificate, key = shop_authority.issue("server")
    with EmbeddedServer(write_repository("recommend"), ServeSettings(tls_certificate=certificate, tls_key=key)) as server:
        yield server


@pytest.fixture(scope="module")
def mutual(write_repository: Any, shop_authority: Authority) -> Iterator[EmbeddedServer]:
    certificate, key = shop_authority.issue("server2")
    own, secret = shop_authority.issue("own questions")
    settings = ServeSettings(
        tls_certificate=certificate,
        tls_key=key,
        tls_client_roots=shop_authority.root,
        tls_probe_certificate=own,
        tls_probe_key=secret,
    )
    with EmbeddedServer(write_repository("recommend"), settings) as server:
        yield server


def ask(server: EmbeddedServer, tls: Tls | None) -> tuple[Any, ...]:
    with Client(server.grpc_address, tls=tls, timeout_seconds=5, retries=1) as client:
        return client.recommend(k=1).item_ids


def test_a_client_that_knows_the_authority_is_answered(encrypted: EmbeddedServer, shop_authority: Authority) -> None:
    assert encrypted.endpoint.tls
    assert ask(encrypted, Tls(root_certificates=shop_authority.root)) == (101,)


def test_a_server_of_an_unknown_authority_is_not_trusted(encrypted: EmbeddedServer, stranger: Authority) -> None:
    with pytest.raises(ServerError, match=r"No TLS connection to .*CERTIFICATE_VERIFY_FAILED.*tls\.root_certificates"):
        ask(encrypted, Tls(root_certificates=stranger.root))


def test_plain_text_to_a_tls_server_is_an_error(encrypted: EmbeddedServer) -> None:
    with pytest.raises(ServerError, match=r"No server answers at .*and TLS if the server speaks it"):
        ask(encrypted, None)


def test_tls_to_a_plain_server_is_an_error(server: EmbeddedServer, shop_authority: Authority) -> None:
    with pytest.raises(ServerError, match=r"No TLS connection to .*Check that the server uses TLS"):
        ask(server, Tls(root_certificates=shop_authority.root))


def test_a_client_with_a_certificate_is_answered(mutual: EmbeddedServer, shop_authority: Authority) -> None:
    certificate, key = shop_authority.issue("client")
    assert ask(mutual, Tls(shop_authority.root, certificate, key)) == (101,)


def test_a_client_without_a_certificate_or_with_a_strange_one_is_refused(
    mutual: EmbeddedServer, shop_authority: Authority, stranger: Authority
) -> None:
    for tls in (Tls(shop_authority.root), Tls(shop_authority.root, *stranger.issue("client"))):
        with pytest.raises(ServerError, match=r"No (server answers at|TLS connection to)"):
            ask(mutual, tls)


def test_its_own_questions_are_answered(encrypted: EmbeddedServer, mutual: EmbeddedServer) -> None:
    for server in (encrypted, mutual):
        assert server.questions
        assert server.questions.ask(20.0) == Found(Answer.GOOD)


def test_without_a_certificate_for_them_there_are_no_questions(mutual: EmbeddedServer, tmp_path: Path) -> None:
    (tmp_path / "recommend").mkdir()
    (tmp_path / "recommend" / "config.pbtxt").touch()
    bare = mutual.settings.model_copy(update={"tls_probe_certificate": None, "tls_probe_key": None})
    assert Questions(mutual.grpc_address, mutual.settings, "own", tmp_path)
    assert not Questions(mutual.grpc_address, bare, "own", tmp_path)


def test_files_that_are_missing_or_incomplete_are_named(tmp_path: Path, write_repository: Any) -> None:
    file = tmp_path / "a.pem"
    file.touch()
    with pytest.raises(UsageError, match=r"root_certificates is .*none\.pem, which is not a file"):
        Tls(tmp_path / "none.pem")
    with pytest.raises(UsageError, match=r"Only one of client_certificate and client_key"):
        Tls(client_certificate=file)
    with pytest.raises(UsageError, match=r"serve\.tls_key is .*none\.pem, which is not a file"):
        EmbeddedServer(write_repository("recommend"), ServeSettings(tls_certificate=file, tls_key=tmp_path / "none.pem"))
    with pytest.raises(ValidationError, match="belong together"):
        ServeSettings(tls_certificate=file)
    with pytest.raises(ValidationError, match="tls_client_roots needs"):
        ServeSettings(tls_client_roots=file)
    with pytest.raises(ValidationError, match="tls_probe_certificate and tls_probe_key belong together"):
        ServeSettings(tls_probe_key=file)
