"""REST against a live server: answers, and every bad input of the book, after each of which it goes on."""

import base64
import io
import socket
import struct
import threading
import time
import zlib

import cv2
import httpx
import numpy as np
import pytest

CROWD = 24


def read_png(data):
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def encode(suffix, image):
    done, data = cv2.imencode(suffix, image)
    assert done
    return data.tobytes()


def bomb(width, height):
    """A PNG of a few kilobytes that promises `width` x `height` colour pixels, and keeps the promise."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    deflate = zlib.compressobj(9)
    row = bytes(1 + 3 * width)
    rows = b"".join(deflate.compress(row) for _ in range(height)) + deflate.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def assert_problem(response, status, code):
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert set(problem) == {"type", "title", "status", "detail", "code", "request_id"}
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["request_id"] == response.headers["x-request-id"]
    assert "Traceback" not in response.text
    return problem["detail"]


def test_the_default_answer_is_a_png_of_class_indices_with_the_facts_in_headers(live_server, pair):
    response = live_server.post(pair.files())
    assert response.status_code == 200
    assert response.headers["content-type"] == "image/png"
    np.testing.assert_array_equal(read_png(response.content), pair.labels)
    assert response.headers["x-geminifusion-model"] == "tiny@1"
    assert response.headers["x-geminifusion-size"] == "64x48"
    assert response.headers["x-geminifusion-batch-size"] == "1"
    for stage in ("decode", "queue", "compute", "encode"):
        assert float(response.headers[f"x-geminifusion-{stage}-ms"]) >= 0
    assert "server" not in response.headers


def test_json_tells_classes_runs_maps_and_timings(live_server, pair):
    answer = live_server.post(pair.files(), format="json", confidence=1, gate=1, request_id="me-7").json()
    assert answer["model"] == "tiny@1"
    assert answer["request_id"] == "me-7"
    assert answer["size"] == {"height": 48, "width": 64}
    assert answer["warnings"] == []
    assert answer["batch_size"] == 1
    assert set(answer["timings_ms"]) == {"decode", "queue", "compute", "encode"}
    counts = np.bincount(pair.labels.ravel(), minlength=4)
    assert {share["id"]: share["pixels"] for share in answer["classes"]} == {
        i: n for i, n in enumerate(counts.tolist()) if n
    }
    pixels = [share["pixels"] for share in answer["classes"]]
    assert pixels == sorted(pixels, reverse=True)
    assert sum(share["fraction"] for share in answer["classes"]) == pytest.approx(1)
    assert all(0 < share["median_depth_m"] < 5 for share in answer["classes"])
    assert [runs["class_id"] for runs in answer["mask"]["rle"]] == np.flatnonzero(counts).tolist()
    assert answer["mask"]["rle"][0]["size"] == [48, 64]
    for name in ("confidence", "gate"):
        assert answer[name]["shape"] == [12, 16]
        assert answer[name]["dtype"] == "float16"
        values = np.frombuffer(base64.b64decode(answer[name]["data"]), "<f2")
        assert values.size == 12 * 16
        assert values.min() >= 0
        assert values.max() <= 1


def test_maps_come_only_when_asked_for(live_server, pair):
    answer = live_server.post(pair.files(), format="json").json()
    assert "confidence" not in answer
    assert "gate" not in answer


def test_classes_come_in_a_header_beside_a_picture(live_server, pair):
    named = live_server.post(pair.files(), format="json").json()["classes"]
    header = live_server.post(pair.files(), classes=1).headers["x-geminifusion-classes"]
    assert [text.split()[0] for text in header.split("; ")] == [str(share["id"]) for share in named]
    first = dict(word.split("=") for word in header.split("; ")[0].split()[1:])
    for name in ("fraction", "median_depth_m", "nearest_depth_m"):
        assert float(first[name]) == pytest.approx(named[0][name], rel=1e-3)
    assert "x-geminifusion-classes" not in live_server.post(pair.files()).headers


def test_npz_holds_labels_confidence_and_gate(live_server, pair):
    response = live_server.post(pair.files(), format="npz")
    with np.load(io.BytesIO(response.content), allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["labels"], pair.labels)
        assert arrays["confidence"].shape == arrays["gate"].shape == (12, 16)


def test_palette_and_overlay_show_the_class_colours(live_server, pair):
    colors = np.array([[120, 20, 20], [20, 120, 20], [20, 20, 220], [220, 220, 20]])[pair.labels]
    palette = read_png(live_server.post(pair.files(), format="palette").content)[..., ::-1]
    np.testing.assert_array_equal(palette, colors)
    overlay = read_png(live_server.post(pair.files(), format="overlay").content)[..., ::-1]
    assert np.abs(overlay - (0.5 * pair.rgb + 0.5 * colors)).max() <= 0.5


def test_base64_json_answers_as_multipart_does(live_server, pair):
    fields = {name: base64.b64encode(data).decode() for name, data in pair.files().items()}
    response = httpx.post(f"{live_server.url}/v1/segment", json=fields, trust_env=False)
    assert response.content == live_server.post(pair.files()).content


@pytest.mark.parametrize("depth_of", [
    lambda mm: encode(".tiff", mm),
    lambda mm: encode(".tiff", mm * np.float32(0.001)),
    lambda mm: npy(mm),
    lambda mm: npy(mm * np.float32(0.001)),
], ids=["tiff", "float tiff", "npy", "float npy"])  # fmt: skip
def test_every_carrier_of_depth_gives_the_same_mask(live_server, pair, depth_of):
    response = live_server.post(pair.files(depth=depth_of(pair.depth_mm)))
    np.testing.assert_array_equal(read_png(response.content), pair.labels)


def test_a_depth_scale_changes_the_unit(live_server, pair):
    tenths = pair.files(depth=encode(".png", pair.depth_mm // 100 * 1))
    rounded = np.where(pair.depth_mm // 100 / 10 > 2, 1, 0)
    labels = read_png(live_server.post(tenths, depth_scale=0.1).content)
    np.testing.assert_array_equal(labels % 2, rounded)


def test_nan_depth_is_not_measured_and_told(live_server, pair):
    metres = (pair.depth_mm * 0.001).astype(np.float32)
    metres[:10] = np.nan
    answer = live_server.post(pair.files(depth=npy(metres)), format="json").json()
    assert any("NaN" in warning for warning in answer["warnings"])
    response = live_server.post(pair.files(depth=npy(metres)))
    assert "NaN" in response.headers["x-geminifusion-warnings"]
    assert not (read_png(response.content)[:10] % 2).any()


def test_a_batch_answers_as_one_by_one_exactly(serving, make_pair):
    pairs = [make_pair(seed) for seed in range(CROWD)]
    with serving(max_batch=8, max_wait_ms=200, queue_size=CROWD, decode_workers=4) as live:
        alone = [live.post(pair.files()).content for pair in pairs]
        together: dict[int, httpx.Response] = {}
        threads = [
            threading.Thread(target=lambda i=i: together.__setitem__(i, live.post(pairs[i].files())))
            for i in range(CROWD)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [together[i].content for i in range(CROWD)] == alone
    assert max(int(r.headers["x-geminifusion-batch-size"]) for r in together.values()) > 1


def test_request_ids_are_kept_where_safe_and_made_where_not(live_server):
    def asked(request_id):
        with httpx.Client(trust_env=False) as client:
            response = client.get(f"{live_server.url}/healthz/live", headers={"X-Request-Id": request_id})
        return response.headers["x-request-id"]

    assert asked("frame-17") == "frame-17"
    assert asked("bad id {}") != "bad id {}"


BAD_FILES = {
    "truncated png": (lambda p: p.files(rgb=p.files()["rgb"][:-40]), 400, "undecodable_image"),
    "truncated depth": (lambda p: p.files(depth=p.files()["depth"][:200]), 400, "undecodable_image"),
    "text file": (lambda p: p.files(rgb=b"this is no image, it is text\n"), 400, "undecodable_image"),
    "empty file": (lambda p: p.files(rgb=b""), 400, "undecodable_image"),
    "no depth": (lambda p: {"rgb": p.files()["rgb"]}, 400, "missing_part"),
    "extra part": (lambda p: p.files(thermal=b"1"), 400, "unknown_part"),
    "60-megapixel bomb": (lambda p: p.files(rgb=bomb(10_000, 6_000)), 413, "image_too_large"),
    "60-megapixel npy": (
        lambda p: p.files(depth=npy(np.zeros((6_000, 10_000), np.uint8).astype(np.uint8))[:128] + bytes(60_000_000)),
        413, "image_too_large"),
    "different sizes": (
        lambda p: p.files(depth=encode(".png", p.depth_mm[:40])), 422, "size_mismatch"),
    "8-bit depth": (
        lambda p: p.files(depth=encode(".png", p.rgb[..., 0])), 422, "depth_scale_required"),
    "too small": (
        lambda p: {"rgb": encode(".png", p.rgb[:8]), "depth": encode(".png", p.depth_mm[:8])},
        422, "image_too_small"),
    "jpeg depth": (lambda p: p.files(depth=encode(".jpg", p.rgb)), 415, "unsupported_image"),
    "16-bit colour": (lambda p: p.files(rgb=encode(".png", p.rgb.astype(np.uint16))), 415, "unsupported_image"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_a_clear_error_and_the_server_goes_on(live_server, pair, case):
    make, status, code = BAD_FILES[case]
    detail = assert_problem(live_server.post(make(pair)), status, code)
    assert len(detail) > 20
    assert live_server.post(pair.files()).status_code == 200


def test_marks_of_no_measurement_are_holes(live_server, make_pair):
    pair = make_pair(1)
    holes = pair.depth_mm.copy()
    holes[10:30, 20:50] = 0
    marked = holes.copy()
    marked[10:30, 20:50] = 65535
    expected = live_server.post(pair.files(depth=encode(".png", holes)))
    answer = live_server.post(pair.files(depth=encode(".png", marked)), depth_invalid="65535,9")
    assert answer.content == expected.content
    assert answer.headers["X-Geminifusion-Sensors"] == expected.headers["X-Geminifusion-Sensors"]
    unmarked = live_server.post(pair.files(depth=encode(".png", marked)))
    assert "depth_invalid=65535" in unmarked.headers["X-Geminifusion-Warnings"]


BAD_OPTIONS = [
    {"format": "gif"},
    {"colour": "1"},
    {"depth_scale": "mm"},
    {"depth_scale": "-1"},
    {"depth_scale": "nan"},
    {"depth_invalid": "hole"},
    {"depth_invalid": "nan"},
    {"depth_invalid": "1,2,3,4,5,6,7,8,9"},
    {"confidence": "maybe", "format": "json"},
    {"confidence": "1"},
    {"gate": "1", "format": "overlay"},
    {"deadline_ms": "0"},
    {"deadline_ms": "inf"},
    {"request_id": "with space"},
]


@pytest.mark.parametrize("query", BAD_OPTIONS, ids=str)
def test_a_bad_option_is_a_clear_error(live_server, pair, query):
    assert_problem(live_server.post(pair.files(), **query), 400, "invalid_option")


def raw_post(live, content, content_type, **headers):
    given = {"Content-Type": content_type} if content_type else {}
    with httpx.Client(trust_env=False) as client:
        return client.post(f"{live.url}/v1/segment", content=content, headers=given | headers)


@pytest.mark.parametrize(
    ("content", "content_type", "status", "code"),
    [
        (b"", "multipart/form-data; boundary=x", 400, "empty_body"),
        (b"", "application/json", 400, "empty_body"),
        (b"{}", "application/json", 400, "missing_part"),
        (b"nonsense", "application/json", 400, "malformed_body"),
        (b"nonsense", "multipart/form-data; boundary=x", 400, "malformed_body"),
        (b"nonsense", "multipart/form-data", 400, "malformed_body"),
        (b"nonsense", "image/png", 415, "unsupported_media_type"),
        (b"nonsense", None, 415, "unsupported_media_type"),
    ],
)
def test_a_bad_body_is_a_clear_error_and_the_server_goes_on(live_server, pair, content, content_type, status, code):
    assert_problem(raw_post(live_server, content, content_type), status, code)
    assert live_server.post(pair.files()).status_code == 200


def test_a_body_beyond_the_limit_is_refused_announced_or_not(serving, pair):
    with serving(max_body_bytes=5_000) as live:
        large = bytes(20_000)
        assert_problem(raw_post(live, large, "application/json"), 413, "body_too_large")
        chunks = (large[i : i + 1000] for i in range(0, len(large), 1000))
        assert_problem(raw_post(live, chunks, "application/json"), 413, "body_too_large")


def test_a_body_that_stops_coming_is_answered_in_time(serving, pair):
    with serving(body_timeout_s=0.05) as live:
        with socket.create_connection(("127.0.0.1", live.server.http_port), timeout=10) as half:
            half.sendall(b"POST /v1/segment HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                         b"Content-Length: 100\r\n\r\n{")  # fmt: skip
            answer = half.recv(4096)
        assert answer.startswith(b"HTTP/1.1 408")
        assert live.post(pair.files()).status_code == 200


def test_an_unknown_model_is_404_and_says_what_there_is(live_server, pair):
    assert "tiny@1" in assert_problem(live_server.post(pair.files(), model="huge"), 404, "model_not_found")
    assert "tiny@1" in assert_problem(live_server.get("/v1/models/huge"), 404, "model_not_found")
    assert live_server.post(pair.files(), model="tiny@1").status_code == 200


def test_unknown_paths_and_methods_are_problems_too(live_server):
    assert_problem(live_server.get("/v3"), 404, "not_found")
    assert_problem(live_server.get("/v1/segment"), 405, "method_not_allowed")


def test_a_deadline_that_cannot_be_met_is_504(live_server, make_pair):
    large = make_pair(0, 1500, 2000)
    assert_problem(live_server.post(large.files(), deadline_ms=1), 504, "deadline_exceeded")


def test_a_full_server_refuses_at_once_with_retry_after(serving, make_pair):
    big = make_pair(0, 1500, 2000).files()
    with serving(queue_size=1, decode_workers=1, body_timeout_s=30) as live:
        with httpx.Client(trust_env=False) as client:
            answers: list[httpx.Response] = []
            crowd = [
                threading.Thread(target=lambda: answers.append(client.post(f"{live.url}/v1/segment", files=big)))
                for _ in range(8)
            ]
            for thread in crowd:
                thread.start()
            for thread in crowd:
                thread.join()
        refused = [answer for answer in answers if answer.status_code == 429]
        assert len(refused) + sum(answer.status_code == 200 for answer in answers) == 8
        assert refused
        assert_problem(refused[0], 429, "queue_full")
        assert int(refused[0].headers["retry-after"]) >= 1
        assert live.post(big).status_code == 200


def test_a_client_that_hangs_up_is_dropped(serving, make_pair):
    request = httpx.Request("POST", "http://host/v1/segment", files=make_pair(0, 1500, 2000).files())
    body = request.read()
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    with serving(decode_workers=1) as live:
        with socket.create_connection(("127.0.0.1", live.server.http_port)) as connection:
            connection.sendall(f"POST /v1/segment HTTP/1.1\r\n{head}\r\n".encode() + body)
        for _ in range(500):
            if 'geminifusion_dropped_total{reason="client_gone"} 1.0' in live.get("/metrics").text:
                break
        else:
            pytest.fail("the request was worked on to its end")
        assert "geminifusion_in_flight 0.0" in live.get("/metrics").text


def test_answers_on_a_kept_connection_do_not_wait_for_acknowledgements(live_server, pair):
    seconds = []
    with httpx.Client(base_url=live_server.url, trust_env=False) as client:
        for _ in range(20):
            started = time.perf_counter()
            assert client.post("/v1/segment", files=pair.files()).status_code == 200
            seconds.append(time.perf_counter() - started)
    assert min(seconds[1:]) < 0.035, "a delayed acknowledgement takes 40 ms"


def test_models_are_described(live_server):
    (listed,) = live_server.get("/v1/models").json()["models"]
    by_name, by_reference = (live_server.get(f"/v1/models/{name}").json() for name in ("tiny", "tiny@1"))
    assert listed == by_name == by_reference
    assert listed["classes"][3]["name"] == "bright far"


def test_health_and_pointer(live_server):
    assert live_server.get("/healthz").json() == live_server.get("/healthz/live").json() == {"status": "live"}
    assert live_server.get("/healthz/ready").json() == {"status": "ready"}
    assert live_server.get("/").json()["docs"] == "/docs"


def test_metrics_count_answers_by_code(live_server, pair):
    live_server.post(pair.files())
    live_server.post({"rgb": b"x"})
    text = live_server.get("/metrics").text
    for name in (
        'geminifusion_requests_total{code="ok",transport="http"}',
        'geminifusion_requests_total{code="missing_part",transport="http"}',
        'geminifusion_stage_seconds_count{stage="compute"}',
        "geminifusion_batch_size_sum",
        "geminifusion_queue_depth 0.0",
        "geminifusion_in_flight 0.0",
        "geminifusion_ready 1.0",
        'geminifusion_model_info{backend="onnxruntime-cpu",name="tiny",version="1"} 1.0',
        "process_resident_memory_bytes",
    ):
        assert name in text


def test_the_openapi_document_describes_both_files_every_option_and_every_error(live_server):
    document = live_server.get("/openapi.json").json()
    operation = document["paths"]["/v1/segment"]["post"]
    form = operation["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    assert set(form) == {"rgb", "depth"}
    assert {option["name"] for option in operation["parameters"]} == {
        "model", "depth_scale", "depth_invalid", "intrinsics", "rgb_intrinsics", "extrinsics",
        "align", "sensor_policy", "format", "overlay_on",
        "confidence", "gate", "disagreement", "classes", "priority", "deadline_ms", "request_id",
    }  # fmt: skip
    assert {"200", "400", "404", "408", "413", "415", "422", "429", "500", "503", "504"} <= set(operation["responses"])
    assert "playground/reference.js" in live_server.get("/docs").text
