"""What pages of other web sites may make a browser send; V10, V11, V27."""

import re

import httpx
import pytest
from tests.service.attacks.conftest import KEY

from geminifusion_service.security.allowed_hosts import AllowedHosts


@pytest.fixture(scope="module")
def explicit(serving, make_artifact, tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    make_artifact(root / "tiny" / "1")
    with serving(
        artifacts=(), model_repository=str(root), model_control="explicit", cors_origins="https://app.example"
    ) as live:
        with httpx.Client(base_url=live.url, trust_env=False) as http:
            http.post("/v1/repository/models/tiny/load").raise_for_status()
        yield live


PATHS = [
    "/v1/repository/models/tiny/unload",
    "/v2/repository/models/tiny/unload",
    "/v2/%72epository/models/tiny/unload",
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site", "Content-Type": "text/plain"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1"}, 403),  # of another port
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Content-Type": "text/plain; charset=utf-8"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": "multipart/form-data; boundary=x"}, 415),
    ],
)
def test_a_page_of_another_site_changes_no_models(explicit, path, headers, status):
    with httpx.Client(base_url=explicit.url, trust_env=False) as http:
        response = http.post(path, headers=headers)
        assert response.status_code == status
        assert re.search(r"may not change the models|which a form sends", response.text)
        assert http.get("/healthz/ready").status_code == 200


def test_own_pages_named_origins_and_programs_do(explicit):
    with httpx.Client(base_url=explicit.url, trust_env=False) as http:
        for headers in (
            {"Origin": explicit.url, "Sec-Fetch-Site": "same-origin", "Content-Type": "application/json"},
            {"Origin": "https://app.example", "Sec-Fetch-Site": "cross-site", "Content-Type": "application/json"},
            {"Content-Type": "application/json"},
            {},
        ):
            assert http.post("/v2/repository/models/tiny/load", headers=headers).status_code == 200


FOREIGN = ["evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "a@evil.example"]


@pytest.mark.parametrize(
    "host", [*FOREIGN, "localhost@evil.example", "", "evil.example.", "EVIL.example", "[::1", "a b"]
)
def test_a_name_that_a_web_site_can_have_is_none_of_ours(small, raw, host):
    client = raw(small)
    client.send(f"GET /v1/models HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    answer = client.head()
    assert answer.split(b" ")[1] in (b"421", b"400")
    assert b"421" not in answer or b"which is no name of this server; use localhost" in answer
    assert client.is_closed_within(1)


def test_a_rebound_page_opens_no_stream(small, raw):
    answer = raw(small).open_stream(Host="evil.example:80", Origin="http://evil.example:80")
    assert answer.startswith(b"HTTP/1.1 421")


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8000", "127.0.0.1", "127.1.2.3:80", "[::1]:8000", "a.localhost"]
)
def test_loopback_names_are_ours(small, raw, host):
    client = raw(small)
    client.send(f"GET /v1/models HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert client.head().startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("names", "listens_on", "allowed", "refused"),
    [
        ((), "127.0.0.1", ("localhost", "geminifusion"), ("seg.example.org", "a.local")),
        ((), "0.0.0.0", ("10.0.0.5:8000", "geminifusion", "seg.ns.svc.cluster.local", "[fd00::1]"), FOREIGN),
        (("seg.example.org", "10.0.0.5"), "0.0.0.0", ("SEG.example.org:80", "10.0.0.5", "localhost"), ("a", "b.svc")),
        (("*",), "0.0.0.0", FOREIGN, ()),
        ((), "seg.example.org", ("seg.example.org", "localhost"), ("other.example.org",)),
    ],
)
def test_which_hosts_are_allowed(names, listens_on, allowed, refused):
    hosts = AllowedHosts(names, listens_on=listens_on)
    assert all(host in hosts for host in allowed)
    assert not any(host in hosts for host in refused)


def test_where_keys_are_asked_for_any_name_will_do(keyed):
    with httpx.Client(trust_env=False) as http:
        headers = {"Host": "seg.example.org", "X-Api-Key": KEY}
        assert http.get(f"{keyed.url}/v1/models", headers=headers).status_code == 200


def test_every_response_says_what_a_browser_may_run(small):
    page = small.get("/docs")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "'unsafe-eval'" not in policy
    assert "script-src" in policy
    for tag in re.findall(r"<(?:script|link)[^>]*https?://[^>]*>", page.text):
        assert 'integrity="sha384-' in tag
        assert re.search(r"@\d+\.\d+\.\d+/", tag), "a fixed release"
    for path in ("/v1/models", "/metrics", "/nothing", "/v2", "/openapi.json"):
        assert "default-src 'none'" in small.get(path).headers["content-security-policy"]
