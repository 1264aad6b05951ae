"""Content negotiation by request headers, content encoding, and methods."""

import gzip
import json

import httpx
import pytest

from geminifusion_service.api.v1.detection import detect_options_from_query
from geminifusion_service.api.v1.query import accepts_gzip, preferred_format
from geminifusion_service.api.v1.translation import translate_options_from_query


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, "png"),
        ("*/*", "png"),
        ("application/json", "json"),
        ("Application/JSON; charset=utf-8", "json"),
        ("application/x-npz", "npz"),
        ("image/png, application/json", "png"),
        ("image/png;q=0.5, application/json;q=0.9", "json"),
        ("application/json;q=0.5, */*", "png"),
        ("application/json, image/*;q=0.8", "json"),
        ("application/json, */*;q=0.8", "json"),
        ("image/png;q=0, application/*", "npz"),
        ("text/html", "png"),
        ("image/png;q=much, application/json;q=0.1", "json"),
        ("application/json;q=7", "png"),
        (",;,=;q", "png"),
    ],
)
def test_the_type_ranked_first_decides_and_png_wins_a_tie(accept, expected):
    assert preferred_format(accept) == expected


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, "json"),
        ("*/*", "json"),
        ("*/*;q=0.8", "json"),
        ("image/png, */*", "json"),
        ("image/png, application/json", "json"),
        ("text/html, image/png;q=0.9, */*;q=0.8", "overlay"),
        ("image/png", "overlay"),
        ("image/*, text/plain;q=0.5", "overlay"),
        ("text/plain", "kitti"),
        ("text/html", "json"),
    ],
)
def test_boxes_are_json_unless_another_type_is_ranked_above_it(accept, expected):
    assert detect_options_from_query([], request_id="one", accept=accept).format == expected


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, "png"),
        ("*/*;q=0.8", "png"),
        ("application/x-npy, image/png", "png"),
        ("application/x-npy, */*", "png"),
        ("application/x-npy, */*;q=0.5", "npy"),
        ("application/json", "png"),
    ],
)
def test_a_translation_is_a_png_unless_npy_is_ranked_above_it(accept, expected):
    assert translate_options_from_query([], request_id="one", accept=accept).format == expected


@pytest.mark.parametrize(
    ("accept_encoding", "expected"),
    [
        (None, False),
        ("", False),
        ("gzip", True),
        ("GZIP", True),
        ("br, gzip;q=0.1", True),
        ("gzip;q=0", False),
        ("gzip;q=0.0, *", False),
        ("*", True),
        ("identity", False),
        ("x-gzipped", False),
    ],
)
def test_gzip_is_used_only_where_it_is_accepted(accept_encoding, expected):
    assert accepts_gzip(accept_encoding) is expected


def ask(live, method, path="/v1/segment", **what):
    with httpx.Client(trust_env=False) as client:
        return client.request(method, live.url + path, **what)


def test_without_a_format_the_accepted_type_decides(live_server, pair):
    answer = ask(live_server, "POST", files=pair.files(), headers={"Accept": "application/json"})
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["vary"] == "Accept, Accept-Encoding"
    assert answer.json()["size"] == {"height": 48, "width": 64}


def test_a_named_format_overrides_the_accepted_type(live_server, pair):
    answer = ask(
        live_server,
        "POST",
        files=pair.files(),
        params={"format": "png"},
        headers={"Accept": "application/json"},
    )
    assert answer.headers["content-type"] == "image/png"


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "deflate, gzip", "br"])
def test_a_compressed_body_is_rejected_naming_its_encoding(live_server, encoding):
    answer = ask(
        live_server,
        "POST",
        content=gzip.compress(bytes(1_000_000)),
        headers={"Content-Type": "multipart/form-data; boundary=x", "Content-Encoding": encoding},
    )
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
    assert encoding in answer.json()["detail"]


def test_a_body_with_identity_encoding_is_accepted(live_server, pair):
    answer = ask(live_server, "POST", files=pair.files(), headers={"Content-Encoding": "identity"})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/segment", {"POST"}),
        ("DELETE", "/v1/models", {"GET", "HEAD"}),
        ("OPTIONS", "/v2/health/live", {"GET", "HEAD"}),
    ],
)
def test_the_response_to_a_method_that_is_not_allowed_names_those_that_are(live_server, method, path, allowed):
    response = ask(live_server, method, path)
    assert response.status_code == 405
    assert set(response.headers["allow"].split(", ")) == allowed


@pytest.mark.parametrize("path", ["/healthz", "/healthz/ready", "/v1/models", "/metrics", "/v2/health/ready", "/docs"])
def test_head_is_get_without_the_body(live_server, path):
    head, get = ask(live_server, "HEAD", path), ask(live_server, "GET", path)
    assert (head.status_code, head.content) == (get.status_code, b"")
    assert head.headers["content-type"] == get.headers["content-type"]


def test_head_of_an_unknown_path_is_404_and_keeps_the_connection(live_server, pair):
    with httpx.Client(trust_env=False) as client:
        assert client.head(f"{live_server.url}/nothing").status_code == 404
        assert client.head(f"{live_server.url}/v1/segment").status_code == 405
        answer = client.post(f"{live_server.url}/v1/segment", files=pair.files(), params={"format": "json"})
    assert json.loads(answer.content)["mask"]["rle"]
