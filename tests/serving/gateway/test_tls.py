"""TLS and mutual TLS at both doors of the gateway, with certificates that openssl makes for the test; Triton behind it needs none."""

import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest
from running_gateway import Gateway, infer, refusal, rpc

from serving.client.client import Client
from serving.client.connection import Tls

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="the certificates of the TLS tests are made with openssl")


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an authority (ca.pem), and certificates and keys of a server and of a client that it signed."""
    folder = tmp_path_factory.mktemp("certificates")
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    authority = ("-addext", "keyUsage=critical,keyCertSign", "-days", "2")
    openssl(folder, "req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=shop", *authority)
    for name in ("server", "client"):
        (folder / f"{name}.ext").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\nauthorityKeyIdentifier=keyid\n")
        openssl(folder, "req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", f"{name}.ext")
        openssl(folder, "x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.pem", *signing)
    return folder


@pytest.fixture(scope="module")
def mutual(run: Path, certificates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("tls")
    own = Path(shutil.copytree(run, folder / "run", ignore=shutil.ignore_patterns("server.json", "logs")))
    files = {"tls_certificate": "server.pem", "tls_key": "server.key", "tls_client_roots": "ca.pem"}
    running = Gateway(own, folder, ladder_seconds=60.0, **{name: str(certificates / file) for name, file in files.items()})
    try:
        yield running
    finally:
        running.end()


def test_clients_with_a_certificate_are_answered_at_every_door(mutual: Gateway, certificates: Path) -> None:
    own = Tls(certificates / "ca.pem", certificates / "client.pem", certificates / "client.key")
    with Client(mutual.endpoint.grpc, tls=own) as client:
        assert client.health().ready
        assert client.recommend("u1", k=2).items
    context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
    context.load_cert_chain(certificates / "client.pem", certificates / "client.key")
    answer = httpx.post(f"https://{mutual.endpoint.http}/v1/recommend", json={"k": 2}, verify=context)
    assert answer.json()["rung"] == "ranked"
    assert httpx.get(f"http://{mutual.endpoint.metrics}/metrics").status_code == 200
    assert httpx.get(f"http://{mutual.endpoint.health}/health/ready").json()["state"] == "serving", "Triton is asked without TLS"


def test_clients_without_one_are_not(mutual: Gateway, certificates: Path) -> None:
    roots = (certificates / "ca.pem").read_bytes()
    request = infer("recommend", user_id=["u1"])
    for opened in (
        grpc.secure_channel(mutual.endpoint.grpc, grpc.ssl_channel_credentials(roots)),
        grpc.insecure_channel(mutual.endpoint.grpc),
    ):
        with opened as channel:
            assert refusal(lambda channel=channel: rpc(channel, "ModelInfer", request))[0] == "UNAVAILABLE"
    context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
    with pytest.raises(httpx.TransportError):
        httpx.post(f"https://{mutual.endpoint.http}/v1/recommend", json={}, verify=context)
