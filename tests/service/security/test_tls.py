"""TLS and mTLS on both transports, with certificates of an authority made for the test."""

import shutil
import socket
import ssl
from pathlib import Path

import grpc
import httpx
import pytest

from geminifusion_service.pb import segmentation_pb2 as pb
from geminifusion_service.pb import segmentation_pb2_grpc
from geminifusion_service.security.tls import TlsError, http_context, tls_files

trustme = pytest.importorskip("trustme", reason="makes the certificates; it is in the extra dev")


class Authority:
    def __init__(self, folder):
        self._ca = trustme.CA()
        self.ca = str(folder / "ca.pem")
        self._ca.cert_pem.write_to_path(self.ca)
        self.certificate, self.key = self.issue(folder, "server")
        self.client = self.issue(folder, "client")
        self.pem = {path: Path(path).read_bytes() for path in (self.ca, *self.client)}

    def issue(self, folder, name):
        issued = self._ca.issue_cert("127.0.0.1", "localhost")
        certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
        issued.private_key_pem.write_to_path(key)
        certificate.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        return str(certificate), str(key)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tls"))


def client_context(authority, *, client=None):
    context = ssl.create_default_context(cafile=authority.ca)
    if client:
        context.load_cert_chain(*client)
    return context


def get(live, context):
    url = live.url.replace("http://", "https://")
    with httpx.Client(trust_env=False, verify=context) as client:
        return client.get(f"{url}/healthz/ready")


def serial(live, authority):
    context = client_context(authority)
    with (
        socket.create_connection(("127.0.0.1", live.server.http_port)) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as wrapped,
    ):
        return wrapped.getpeercert()["serialNumber"]


async def list_models(live, authority, *, client=None):
    certificate, key = (authority.pem[path] for path in client) if client else (None, None)
    credentials = grpc.ssl_channel_credentials(authority.pem[authority.ca], key, certificate)
    async with grpc.aio.secure_channel(live.grpc_target, credentials) as channel:
        return await segmentation_pb2_grpc.SegmentationStub(channel).ListModels(pb.ListModelsRequest(), timeout=5)


async def test_both_transports_answer_over_tls_and_no_longer_without(serving, authority):
    with serving(tls_certificate=authority.certificate, tls_key=authority.key) as live:
        assert get(live, client_context(authority)).status_code == 200
        assert [model.name for model in (await list_models(live, authority)).models] == ["tiny"]
        with pytest.raises(httpx.HTTPError):
            live.get("/healthz/ready")


async def test_with_a_client_authority_a_client_without_a_certificate_is_kept_out(serving, authority):
    with serving(tls_certificate=authority.certificate, tls_key=authority.key, tls_client_ca=authority.ca) as live:
        assert get(live, client_context(authority, client=authority.client)).status_code == 200
        assert (await list_models(live, authority, client=authority.client)).models
        with pytest.raises(httpx.HTTPError):
            get(live, client_context(authority))
        with pytest.raises(grpc.aio.AioRpcError):
            await list_models(live, authority)


def test_a_renewed_certificate_is_shown_to_the_next_connection(serving, authority, tmp_path):
    served = [str(tmp_path / name) for name in ("served.pem", "served.key")]
    for source, target in zip((authority.certificate, authority.key), served, strict=True):
        shutil.copy(source, target)
    with serving(tls_certificate=served[0], tls_key=served[1]) as live:
        before = serial(live, authority)
        for source, target in zip(authority.issue(tmp_path, "renewed"), served, strict=True):
            shutil.copy(source, target)
        serial(live, authority)  # the handshake that notices may still show the old one
        assert serial(live, authority) != before


def test_files_that_do_not_belong_together_are_refused(authority, tmp_path):
    with pytest.raises(TlsError, match="--tls-key"):
        tls_files(authority.certificate, "", "")
    with pytest.raises(TlsError, match="no file"):
        tls_files(authority.certificate, str(tmp_path / "missing"), "")
    files = tls_files(authority.certificate, authority.client[1], "")
    with pytest.raises(TlsError, match="made for"):
        http_context(files)


@pytest.mark.parametrize(
    ("scheme", "port", "said"),
    [
        ("http", "http_port", "https://"),
        ("grpc", "grpc_port", "grpcs://"),
        ("https", "grpc_port", "give grpcs://"),
        ("grpcs", "http_port", "give https://"),
    ],
)
def test_a_client_of_another_kind_is_told_which(serving, authority, scheme, port, said):
    from geminifusion import Client
    from geminifusion.errors import ServerUnreachableError

    with serving(tls_certificate=authority.certificate, tls_key=authority.key) as live:
        where = f"{scheme}://127.0.0.1:{getattr(live.server, port)}"
        client = Client(where, retries=0, timeout=5, ca=authority.ca)
        with client, pytest.raises(ServerUnreachableError, match=said):
            client.models()
