"""API keys: who is let through, by which road, and how often."""

import hashlib
import os
import socket
from urllib.parse import quote

import grpc
import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from geminifusion_service.errors import ForbiddenError, RateLimitedError, UnauthenticatedError
from geminifusion_service.pb import segmentation_pb2 as pb
from geminifusion_service.pb import segmentation_pb2_grpc
from geminifusion_service.security.api_keys import AccessControl, AccessFileError
from geminifusion_service.transport.http.api_keys import role_for

KEY, ADMIN = "k-3f", "a-77"


def digest(key):
    return hashlib.sha256(key.encode()).hexdigest()


def keys_file(path, extra=""):
    path.write_text(
        f'[camera]\nsha256 = "{digest(KEY)}"\n{extra}\n'
        f'[operator]\nsha256 = "{digest(ADMIN)}"\nroles = ["admin", "segment"]\n'
    )
    return path


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.mark.parametrize(
    "headers", [{"authorization": f"Bearer {KEY}"}, {"authorization": f"bearer  {KEY} "}, {"x-api-key": KEY}]
)
def test_a_known_key_is_let_through_by_its_name(tmp_path, headers):
    assert AccessControl(keys_file(tmp_path / "keys.toml")).check(headers).name == "camera"


@pytest.mark.parametrize(
    "headers", [{}, {"x-api-key": KEY[:-1]}, {"authorization": f"Basic {KEY}"}, {"x-api-key": "é"}]
)
def test_no_key_and_a_wrong_key_are_refused(tmp_path, headers):
    with pytest.raises(UnauthenticatedError):
        AccessControl(keys_file(tmp_path / "keys.toml")).check(headers)


def test_a_key_without_the_role_is_forbidden(tmp_path):
    access = AccessControl(keys_file(tmp_path / "keys.toml"))
    with pytest.raises(ForbiddenError, match="camera"):
        access.check({"x-api-key": KEY}, role="admin")
    assert access.check({"x-api-key": ADMIN}, role="admin").name == "operator"


def test_a_rate_holds_on_average_and_a_burst_at_once(tmp_path):
    clock = Clock()
    access = AccessControl(keys_file(tmp_path / "keys.toml", "rate = 2.0\nburst = 3"), clock)
    for _ in range(3):
        access.check({"x-api-key": KEY})
    with pytest.raises(RateLimitedError) as refused:
        access.check({"x-api-key": KEY})
    assert refused.value.retry_after_s == 1
    access.check({"x-api-key": ADMIN})  # others have their own
    clock.now += 0.5
    access.check({"x-api-key": KEY})
    with pytest.raises(RateLimitedError):
        access.check({"x-api-key": KEY})


def test_a_changed_file_counts_within_a_second_and_a_broken_one_changes_nothing(tmp_path):
    clock, path = Clock(), keys_file(tmp_path / "keys.toml")
    access = AccessControl(path, clock)
    path.write_text("no toml [")
    clock.now += 2
    assert access.check({"x-api-key": KEY}).name == "camera"
    path.write_text(f'[other]\nsha256 = "{digest("new")}"\n')
    os.utime(path, ns=(1, 1))
    clock.now += 2
    assert access.check({"x-api-key": "new"}).name == "other"
    with pytest.raises(UnauthenticatedError):
        access.check({"x-api-key": KEY})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no key"),
        ("[a]\nkey = 'secret-in-clear'", "a.sha256"),
        (f'[a]\nsha256 = "{"0" * 64}"\n[b]\nsha256 = "{"0" * 64}"', "two names"),
        ("[a", "TOML"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_without_showing_what_it_holds(tmp_path, text, said):
    path = tmp_path / "keys.toml"
    path.write_text(text)
    with pytest.raises(AccessFileError, match=said) as refused:
        AccessControl(path)
    assert "secret" not in str(refused.value)


@pytest.fixture(scope="module")
def guarded(serving, tmp_path_factory):
    path = keys_file(tmp_path_factory.mktemp("keys") / "keys.toml", "rate = 0.001\nburst = 3")
    with serving(api_keys_file=str(path), open_metrics=False, model_control="explicit") as live:
        yield live


def test_a_request_without_a_key_is_answered_before_its_body_is_read(guarded):
    with socket.create_connection(("127.0.0.1", guarded.server.http_port), timeout=5) as connection:
        # A body that is announced and never comes would otherwise be waited for.
        connection.sendall(b"POST /v1/segment HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
        answer = connection.recv(65536).decode().lower()
    assert answer.startswith("http/1.1 401")
    assert "www-authenticate: bearer" in answer


def test_health_needs_no_key_and_everything_else_does(guarded):
    assert guarded.get("/healthz/ready").status_code == 200
    assert guarded.get("/v2/health/ready").status_code == 200
    assert guarded.get("/v1/health/ready").status_code == 200
    for path in ("/v1/models", "/metrics", "/v1/metrics", "/v1/version", "/openapi.json", "/v2/models/tiny"):
        assert guarded.get(path).status_code == 401, path


def test_changing_models_needs_the_role_of_an_admin(guarded):
    url = f"{guarded.url}/v1/repository/models/none/load"
    with httpx.Client(trust_env=False) as client:
        assert client.post(url, headers={"X-Api-Key": KEY}).status_code == 403
        assert client.post(url, headers={"X-Api-Key": ADMIN}).status_code == 404


@pytest.mark.parametrize(
    ("path", "role"),
    [
        ("/v1/repository/models/tiny/load", "admin"),
        ("/v2/repository/models/index-b0/unload", "admin"),
        ("/v2/repository/index", "segment"),
        ("/v1/segment", "segment"),
    ],
)
def test_only_changing_models_asks_for_the_admin_whatever_a_model_is_called(path, role):
    assert role_for(path, "POST") == role


def test_a_web_page_may_ask_without_a_key_whether_it_may_send_one(serving, tmp_path):
    path = keys_file(tmp_path / "keys.toml")
    asked = {"Origin": "https://a.org", "Access-Control-Request-Method": "POST"}
    asked["Access-Control-Request-Headers"] = "x-api-key"
    with (
        serving(api_keys_file=str(path), cors_origins="https://a.org") as live,
        httpx.Client(trust_env=False) as client,
    ):
        assert client.options(f"{live.url}/v1/segment", headers=asked).status_code == 200
        refused = client.get(f"{live.url}/v1/models", headers={"Origin": "https://a.org"})
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == "https://a.org"


async def test_grpc_asks_for_the_same_keys_and_keeps_the_same_rates(guarded, pair):
    request = pb.SegmentRequest(images=pair.files())
    async with grpc.aio.insecure_channel(guarded.grpc_target) as channel:
        stub = segmentation_pb2_grpc.SegmentationStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.Segment(request)
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        codes = []
        for _ in range(5):
            try:
                await stub.Segment(request, metadata=[("authorization", f"Bearer {KEY}")])
                codes.append(grpc.StatusCode.OK)
            except grpc.aio.AioRpcError as error:
                codes.append(error.code())
        assert codes[0] is grpc.StatusCode.OK
        assert codes[-1] is grpc.StatusCode.RESOURCE_EXHAUSTED


def stream(live, *, subprotocols=None, headers=()):
    return connect(
        live.url.replace("http", "ws") + "/v1/stream",
        proxy=None,
        subprotocols=subprotocols,
        additional_headers=list(headers),
    )


@pytest.mark.parametrize("key", [KEY, "schlüssel", "a/b+c=", "100%", "ключ"])
def test_a_browser_offers_its_key_as_a_subprotocol_and_gets_no_key_back(serving, tmp_path, key):
    path = tmp_path / "keys.toml"
    path.write_text(f'[web]\nsha256 = "{digest(key)}"\n')
    with serving(api_keys_file=str(path)) as live:
        with stream(live, subprotocols=["bearer", quote(key, safe="")]) as socket:
            assert socket.subprotocol == "bearer"
            assert socket.response.headers["Sec-WebSocket-Protocol"] == "bearer"
        for wrong in (["bearer", "other"], ["bearer"], [quote(key, safe="")], None):
            with pytest.raises(InvalidStatus) as refused, stream(live, subprotocols=wrong):
                pass
            assert refused.value.response.status_code == 401


def test_the_subprotocol_is_chosen_where_no_key_is_needed(live_server):
    with stream(live_server, subprotocols=["bearer", "any"]) as socket:
        assert socket.subprotocol == "bearer"


@pytest.mark.parametrize("key", ["schlüssel", "ключ"])
def test_a_key_beyond_ascii_is_the_bytes_that_were_sent(serving, tmp_path, key):
    path = tmp_path / "keys.toml"
    path.write_text(f'[web]\nsha256 = "{digest(key)}"\n')
    with serving(api_keys_file=str(path)) as live, httpx.Client(trust_env=False) as client:
        for name, value in (("X-Api-Key", key.encode()), ("Authorization", b"Bearer " + key.encode())):
            assert client.get(f"{live.url}/v1/models", headers={name.encode(): value}).status_code == 200
        assert client.get(f"{live.url}/v1/models", headers={b"X-Api-Key": b"schl\xfcssel"}).status_code == 401
