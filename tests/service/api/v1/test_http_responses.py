"""What answers carry beside the mask."""

import base64
import gzip
import io
import json

import httpx
import numpy as np
import pytest


def raw(live, pair, accept, **query):
    """The answer as it came over the wire, and its headers."""
    with (
        httpx.Client(trust_env=False) as client,
        client.stream(
            "POST", f"{live.url}/v1/segment", params=query, files=pair.files(), headers={"Accept-Encoding": accept}
        ) as response,
    ):
        return b"".join(response.iter_raw()), response.headers


def test_the_same_mask_has_the_same_etag_and_another_has_another(live_server, pair, make_pair):
    first, again = (live_server.post(pair.files()).headers["etag"] for _ in range(2))
    assert first == again
    assert first != live_server.post(make_pair(5).files()).headers["etag"]
    assert "etag" not in live_server.post(pair.files(), format="json").headers


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/tiny"])
def test_the_models_come_again_only_when_they_have_changed(live_server, path):
    def get(known=None):
        with httpx.Client(trust_env=False) as client:
            return client.get(live_server.url + path, headers={"If-None-Match": known} if known else {})

    first = get()
    tag = first.headers["ETag"]
    assert first.json()
    for known in (tag, f'"other", W/{tag}', "*"):
        again = get(known)
        assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
    assert get('"other"').content == first.content
    with httpx.Client(trust_env=False) as client:
        head = client.head(live_server.url + path)
        assert (head.status_code, head.content, head.headers["ETag"]) == (200, b"", tag)
        assert client.head(live_server.url + path, headers={"If-None-Match": tag}).status_code == 304
        on_two_lines = [("If-None-Match", '"other"'), ("If-None-Match", tag)]
        assert client.get(live_server.url + path, headers=on_two_lines).status_code == 304


def test_stages_are_shown_to_browsers_as_server_timing(live_server, pair):
    stages = live_server.post(pair.files()).headers["server-timing"].split(", ")
    assert [stage.split(";")[0] for stage in stages] == ["receive", "decode", "queue", "compute", "encode"]
    assert all(float(stage.split("dur=")[1]) >= 0 for stage in stages)


def test_a_large_json_answer_is_packed_for_who_takes_it_and_a_picture_never(live_server, make_pair):
    pair = make_pair(1, 96, 128)
    packed, headers = raw(live_server, pair, "gzip", format="json", confidence=1, gate=1)
    plain, plain_headers = raw(live_server, pair, "identity", format="json", confidence=1, gate=1)
    assert headers["content-encoding"] == "gzip"
    assert len(packed) < len(plain)
    assert b'"sensors"' in gzip.decompress(packed)
    assert "content-encoding" not in plain_headers
    assert "Accept-Encoding" in plain_headers["vary"]
    assert "content-encoding" not in raw(live_server, pair, "gzip")[1]


def test_disagreement_shows_where_the_answer_leans_on_depth(live_server, pair):
    answer = live_server.post(pair.files(), format="json", disagreement=1).json()
    shown = answer["disagreement"]
    values = np.frombuffer(base64.b64decode(shown["data"]), "<f2").reshape(shown["shape"])
    assert shown["shape"] == [12, 16]
    assert 0 <= values.min() <= values.max() <= 1
    far = pair.depth_mm > 2000  # what the tiny graph calls far only with depth
    leaning = far.reshape(12, 4, 16, 4).mean(axis=(1, 3))
    assert values[leaning == 1].mean() > values[leaning == 0].mean()
    with np.load(io.BytesIO(live_server.post(pair.files(), format="npz", disagreement=1).content)) as arrays:
        np.testing.assert_array_equal(arrays["disagreement"], values)


def test_the_nearest_distance_of_a_class_is_a_robust_one(live_server, pair):
    for share in live_server.post(pair.files(), format="json").json()["classes"]:
        distances = pair.depth_mm[(pair.labels == share["id"]) & (pair.depth_mm > 0)] / 1000
        assert share["nearest_depth_m"] <= share["median_depth_m"]
        np.testing.assert_allclose(share["nearest_depth_m"], np.percentile(distances, 2), rtol=1e-5)


def not_json(constant):
    pytest.fail(f"{constant} is no JSON")


@pytest.mark.parametrize("dtype", ["<f4", "<f8"])
@pytest.mark.parametrize("number", [3.4e38, 1e30, np.inf])
def test_a_number_that_stands_for_no_data_leaves_the_answer_json(live_server, pair, dtype, number):
    metres = (pair.depth_mm / 1000).astype(dtype)
    metres[20, 30] = number
    stream = io.BytesIO()
    np.save(stream, metres)
    files = pair.files(depth=stream.getvalue())
    answer = json.loads(live_server.post(files, format="json").text, parse_constant=not_json)
    assert answer["sensors"]["depth"]["noise"] < 100
    sensors = live_server.post(files).headers["X-Geminifusion-Sensors"]
    assert "inf" not in sensors
    assert "nan" not in sensors


def test_warnings_come_whole_in_a_header_whatever_they_say(live_server, pair, monkeypatch):
    from geminifusion_runtime import preparation

    said = ("0 … 10 m", 'a; b, "c"\nd')
    monkeypatch.setattr(preparation, "_warnings", lambda *_: said)
    answer = live_server.post(pair.files())
    assert answer.status_code == 200
    assert tuple(json.loads(answer.headers["X-Geminifusion-Warnings"])) == said
    assert tuple(live_server.post(pair.files(), format="json").json()["warnings"]) == said
