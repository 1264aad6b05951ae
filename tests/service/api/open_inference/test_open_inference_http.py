"""/v2 of a live server, byte by byte: what any client of the protocol sends and reads."""

import base64
import json
import socket

import cv2
import httpx
import numpy as np
import pytest

BINARY = "application/octet-stream"


@pytest.fixture
def http(live_server):
    with httpx.Client(base_url=live_server.url, trust_env=False) as client:
        yield client


def with_length(*elements):
    return b"".join(len(element).to_bytes(4, "little") + element for element in elements)


def raw_inputs(pair):
    return {"rgb": ("UINT8", pair.rgb[None]), "depth": ("UINT16", pair.depth_mm[None])}


def binary_body(inputs, **document):
    """The header's JSON and then the tensors, as the binary tensor extension has it."""
    entries, chunks = [], []
    for name, (datatype, value) in inputs.items():
        chunk = value if isinstance(value, bytes) else value.tobytes()
        shape = [1] if isinstance(value, bytes) else list(value.shape)
        entries.append(
            {"name": name, "shape": shape, "datatype": datatype, "parameters": {"binary_data_size": len(chunk)}}
        )
        chunks.append(chunk)
    header = json.dumps({"inputs": entries, **document}).encode()
    return b"".join([header, *chunks]), {"Inference-Header-Content-Length": str(len(header)), "Content-Type": BINARY}


def infer(http, model, inputs, **document):
    body, headers = binary_body(inputs, **document)
    return http.post(f"/v2/models/{model}/infer", content=body, headers=headers)


def read(answer):
    """Outputs of an answer by name, whichever way they came."""
    assert answer.status_code == 200, answer.text
    length = int(answer.headers.get("Inference-Header-Content-Length", len(answer.content)))
    document, position, outputs = json.loads(answer.content[:length]), length, {}
    dtypes = {"UINT8": "u1", "FP32": "<f4"}
    for output in document["outputs"]:
        size = output.get("parameters", {}).get("binary_data_size")
        if size is None:
            outputs[output["name"]] = output["data"]
            continue
        chunk = answer.content[position : position + size]
        position += size
        if output["datatype"] == "BYTES":
            outputs[output["name"]] = chunk
        else:
            outputs[output["name"]] = np.frombuffer(chunk, dtypes[output["datatype"]]).reshape(output["shape"])
    assert position == len(answer.content)
    return document, outputs


def as_labels(png):
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)


def test_server_says_who_it_is_and_what_it_speaks(http):
    answer = http.get("/v2").json()
    assert answer["name"] == "geminifusion"
    assert {"binary_tensor_data", "model_configuration", "statistics"} <= set(answer["extensions"])


def test_health_and_readiness(http):
    assert http.get("/v2/health/live").json() == {"live": True}
    assert http.get("/v2/health/ready").json() == {"ready": True}
    assert http.get("/v2/models/tiny/ready").json() == {"name": "tiny", "ready": True}
    assert http.get("/v2/models/tiny/versions/1/ready").status_code == 200
    assert http.get("/v2/models/nothing/ready").status_code == 404


def test_metadata_of_the_two_faces_describes_what_they_take(http):
    encoded = http.get("/v2/models/tiny").json()
    assert encoded["versions"] == ["1"]
    assert encoded["inputs"] == [
        {"name": "rgb", "datatype": "BYTES", "shape": [-1, 1]},
        {"name": "depth", "datatype": "BYTES", "shape": [-1, 1]},
    ]
    assert encoded["outputs"] == [{"name": "mask", "datatype": "BYTES", "shape": [-1, 1]}]
    raw = http.get("/v2/models/tiny_raw/versions/1").json()
    assert raw["inputs"] == [
        {"name": "rgb", "datatype": "UINT8", "shape": [-1, -1, -1, 3]},
        {"name": "depth", "datatype": "FP32", "shape": [-1, -1, -1]},
    ]
    assert [(out["name"], out["datatype"]) for out in raw["outputs"]] == [
        ("labels", "UINT8"), ("confidence", "FP32"), ("gate", "FP32"),
    ]  # fmt: skip


def test_configuration_implies_the_batch_axis(http):
    config = http.get("/v2/models/tiny_raw/config").json()
    assert config["max_batch_size"] > 1
    assert config["input"][0] == {"name": "rgb", "data_type": "TYPE_UINT8", "dims": [-1, -1, 3]}
    assert http.get("/v2/models/tiny/config").json()["output"] == [
        {"name": "mask", "data_type": "TYPE_STRING", "dims": [1]}
    ]


def test_pixels_in_labels_out(http, pair):
    document, outputs = read(
        infer(http, "tiny_raw", raw_inputs(pair), id="r 1/ä", parameters={"binary_data_output": True})
    )
    np.testing.assert_array_equal(outputs["labels"][0], pair.labels)
    assert outputs["confidence"].shape == outputs["gate"].shape == (1, 12, 16)
    assert (document["model_name"], document["model_version"], document["id"]) == ("tiny_raw", "1", "r 1/ä")
    assert document["parameters"]["compute_ms"] >= 0


@pytest.mark.parametrize("datatype", ["FP32", "FP64", "FP16"])
def test_metres_of_any_float_are_depth(http, make_pair, datatype):
    pair = make_pair(3)
    metres = (pair.depth_mm / 1000).astype({"FP32": "<f4", "FP64": "<f8", "FP16": "<f2"}[datatype])
    inputs = {**raw_inputs(pair), "depth": (datatype, metres[None])}
    # An odd offset: the tensor is not aligned in the body.
    _, outputs = read(
        infer(http, "tiny", inputs, id="x" * 3, outputs=[{"name": "labels"}], parameters={"binary_data_output": True})
    )
    expected = 2 * (pair.rgb.astype(np.float32).mean(axis=2) > 128) + (metres.astype(np.float32) > 2)
    np.testing.assert_array_equal(outputs["labels"][0], expected)


def test_files_in_mask_out(http, pair):
    files = {name: ("BYTES", with_length(data)) for name, data in pair.files().items()}
    document, outputs = read(infer(http, "tiny", files, parameters={"binary_data_output": True}))
    np.testing.assert_array_equal(as_labels(outputs["mask"][4:]), pair.labels)
    assert document["outputs"][0]["shape"] == [1]


def test_a_batch_of_files_of_different_sizes_answers_a_mask_for_each(http, make_pair):
    pairs = [make_pair(1), make_pair(2, 32, 40)]
    inputs = [
        {
            "name": name,
            "shape": [2, 1],
            "datatype": "BYTES",
            "data": [[base64.b64encode(pair.files()[name]).decode()] for pair in pairs],
        }
        for name in ("rgb", "depth")
    ]
    document, outputs = read(http.post("/v2/models/tiny/infer", json={"inputs": inputs}))
    assert document["outputs"][0]["shape"] == [2, 1]
    assert document["outputs"][0]["parameters"] == {"content_type": "base64"}
    for pair, text in zip(pairs, outputs["mask"], strict=True):
        np.testing.assert_array_equal(as_labels(base64.b64decode(text)), pair.labels)
    refused = http.post("/v2/models/tiny/infer", json={"inputs": inputs, "outputs": [{"name": "labels"}]})
    assert (refused.status_code, refused.json()["code"]) == (422, "size_mismatch")


def test_a_batch_of_pixels_answers_in_its_order(http, make_pair):
    pairs = [make_pair(seed) for seed in range(5)]
    inputs = {
        "depth": ("UINT16", np.stack([pair.depth_mm for pair in pairs])),
        "rgb": ("UINT8", np.stack([pair.rgb for pair in pairs])),
    }
    _, outputs = read(
        infer(http, "tiny_raw", inputs, outputs=[{"name": "labels", "parameters": {"binary_data": True}}])
    )
    np.testing.assert_array_equal(outputs["labels"], np.stack([pair.labels for pair in pairs]))


@pytest.mark.parametrize("flat", [True, False])
def test_json_numbers_are_the_same_pixels(http, make_pair, flat):
    pair = make_pair(4, 16, 24)
    inputs = [
        {
            "name": name,
            "shape": list(value.shape),
            "datatype": datatype,
            "data": (value.ravel() if flat else value).tolist(),
        }
        for name, (datatype, value) in raw_inputs(pair).items()
    ]
    document, outputs = read(http.post("/v2/models/tiny_raw/infer", json={"inputs": inputs}))
    assert [output["name"] for output in document["outputs"]] == ["labels", "confidence", "gate"]
    assert outputs["labels"] == pair.labels.ravel().tolist()


def test_a_file_and_pixels_may_come_together(http, pair):
    inputs = {"rgb": ("BYTES", with_length(pair.files()["rgb"])), "depth": ("UINT16", pair.depth_mm[None])}
    outputs = [{"name": "mask", "parameters": {"binary_data": True}}, {"name": "labels"}]
    _, out = read(infer(http, "tiny", inputs, outputs=outputs))
    np.testing.assert_array_equal(as_labels(out["mask"][4:]), pair.labels)
    assert out["labels"] == pair.labels.ravel().tolist()


def test_parameters_are_options(http, pair):
    coarse = {**raw_inputs(pair), "depth": ("UINT8", (pair.depth_mm // 100).astype(np.uint8)[None])}
    refused = infer(http, "tiny_raw", coarse)
    assert (refused.status_code, refused.json()["code"]) == (422, "depth_scale_required")
    outputs = [{"name": "mask"}]
    palette = {"depth_scale": 0.1, "format": "palette", "priority": 1, "timeout": 20_000_000, "deadline_ms": 20_000}
    _, answered = read(infer(http, "tiny_raw", coarse, parameters=palette, outputs=outputs))
    assert b"PLTE" in base64.b64decode(answered["mask"][0])


def test_disagreement_is_answered_when_asked_for(http, pair):
    outputs = [{"name": name, "parameters": {"binary_data": True}} for name in ("disagreement", "labels")]
    _, out = read(infer(http, "tiny_raw", raw_inputs(pair), outputs=outputs))
    assert out["disagreement"].shape == (1, 12, 16)
    assert 0 <= out["disagreement"].min() <= out["disagreement"].max() <= 1
    np.testing.assert_array_equal(out["labels"][0], pair.labels)


def test_classes_come_as_a_parameter_with_a_list_for_each_image(http, make_pair):
    pairs = [make_pair(1), make_pair(2)]
    inputs = {
        "rgb": ("UINT8", np.stack([pair.rgb for pair in pairs])),
        "depth": ("UINT16", np.stack([pair.depth_mm for pair in pairs])),
    }
    document, _ = read(infer(http, "tiny_raw", inputs, parameters={"classes": True, "binary_data_output": True}))
    listed = json.loads(document["parameters"]["classes"])
    for pair, shares in zip(pairs, listed, strict=True):
        counts = np.bincount(pair.labels.ravel(), minlength=4)
        assert {share["id"]: share["pixels"] for share in shares} == {i: n for i, n in enumerate(counts.tolist()) if n}


def test_warnings_come_as_a_parameter(http, pair):
    inputs = {**raw_inputs(pair), "depth": ("FP32", pair.depth_mm.astype("<f4")[None])}
    document, _ = read(infer(http, "tiny_raw", inputs))
    assert "wrong unit" in document["parameters"]["warnings"]


def test_statistics_count_images_and_failures(serving, pair):
    with serving() as live, httpx.Client(base_url=live.url, trust_env=False) as http:
        inputs = {name: (datatype, np.repeat(value, 3, axis=0)) for name, (datatype, value) in raw_inputs(pair).items()}
        assert infer(http, "tiny_raw", inputs).status_code == 200
        assert infer(http, "tiny_raw", {"rgb": inputs["rgb"]}).status_code == 400
        totals = http.get("/v2/models/tiny/stats").json()["model_stats"][0]
        assert http.get("/v2/models/stats").json()["model_stats"] == [totals]
    assert (totals["name"], totals["version"], totals["inference_count"]) == ("tiny", "1", 3)
    assert 1 <= totals["execution_count"] <= 3
    stages = totals["inference_stats"]
    assert (stages["success"]["count"], stages["fail"]["count"], stages["queue"]["count"]) == (1, 1, 3)
    assert stages["compute_infer"]["ns"] > 0


def header(length):
    return {"Inference-Header-Content-Length": length}


PLANE = {"name": "depth", "datatype": "UINT16", "shape": [1, 48, 64]}


@pytest.mark.parametrize(
    ("content", "headers", "status", "code"),
    [
        (b"", {}, 400, "empty_body"),
        (b"{", {}, 400, "malformed_body"),
        (b"[]", {}, 400, "malformed_body"),
        (b'{"inputs": []}', {}, 400, "empty_body"),
        (b'{"inputs": [1]}', {}, 400, "malformed_body"),
        (b"{}", header("-1"), 400, "malformed_body"),
        (b"{}", header("1e1"), 400, "malformed_body"),
        (b"{}", header("3"), 400, "malformed_body"),
        (b"{}", header("9" * 30), 400, "malformed_body"),
        (b"{}more", header("2"), 400, "malformed_body"),
        (b"png", header("0"), 400, "malformed_body"),
        (b"{}", {"Content-Encoding": "gzip"}, 415, "unsupported_media_type"),
        (b"{}", {"Content-Type": "multipart/form-data; boundary=x"}, 415, "unsupported_media_type"),
        (json.dumps({"inputs": [{**PLANE, "shape": [-1]}]}), {}, 400, "malformed_body"),
        (json.dumps({"inputs": [{**PLANE, "shape": "48"}]}), {}, 400, "malformed_body"),
        (json.dumps({"inputs": [{**PLANE, "datatype": "UINT12"}]}), {}, 400, "malformed_body"),
        (json.dumps({"inputs": [PLANE]}), {}, 400, "malformed_body"),
        (json.dumps({"inputs": [{**PLANE, "data": [1, 2]}]}), {}, 400, "malformed_body"),
        (json.dumps({"inputs": [{**PLANE, "shape": [1, 1, 2], "data": [1, 70000]}]}), {}, 400, "malformed_body"),
        (json.dumps({"inputs": [{**PLANE, "shape": [1, 1, 2], "data": [1, 1.5]}]}), {}, 400, "malformed_body"),
        (json.dumps({"inputs": [{**PLANE, "shape": [1, 1, 2], "data": [1, [2]]}]}), {}, 400, "malformed_body"),
        (json.dumps({"inputs": [{**PLANE, "shape": [1, 2], "data": [1, 2]}]}), {}, 422, "unprocessable"),
        (json.dumps({"inputs": [{**PLANE, "shape": [1, 0, 2], "data": []}]}), {}, 422, "unprocessable"),
        (json.dumps({"inputs": [{**PLANE, "shape": [1, 1, 1], "data": [1]}] * 2}), {}, 400, "malformed_body"),
        (json.dumps({"inputs": [{**PLANE, "shape": [1, 1, 1], "data": [1]}]}), {}, 400, "missing_part"),
        (json.dumps({"inputs": [PLANE], "parameters": {"x": None}}), {}, 400, "invalid_option"),
        (
            json.dumps({"inputs": [{"name": "rgb", "datatype": "BYTES", "shape": [1], "data": ["?"]}]}),
            {},
            400,
            "malformed_body",
        ),
    ],
)
def test_bad_requests_are_refused_in_the_protocols_words(http, content, headers, status, code):
    answer = http.post("/v2/models/tiny/infer", content=content, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.json()["error"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"outputs": [{"name": "nothing"}]}, "invalid_option"),
        ({"outputs": [{"name": "labels"}, {"name": "labels"}]}, "invalid_option"),
        ({"outputs": [{"name": "labels", "parameters": {"classification": 3}}]}, "invalid_option"),
        ({"parameters": {"depth-scale": 1}}, "invalid_option"),
        ({"parameters": {"depth_scale": "far"}}, "invalid_option"),
        ({"parameters": {"depth_invalid": "1,far"}}, "invalid_option"),
        ({"parameters": {"depth_scale": True}}, "invalid_option"),
        ({"parameters": {"format": "json"}}, "invalid_option"),
        ({"parameters": {"priority": "urgent"}}, "invalid_option"),
        ({"parameters": {"binary_data_output": 1}}, "invalid_option"),
        ({"parameters": {"deadline_ms": -1}}, "invalid_option"),
        ({"id": 7}, "malformed_body"),
    ],
)
def test_bad_options_are_refused(http, pair, change, code):
    answer = infer(http, "tiny_raw", raw_inputs(pair), **change)
    assert (answer.status_code, answer.json()["code"]) == (400, code), answer.text


def test_binary_sizes_have_to_add_up(http, pair):
    body, headers = binary_body(raw_inputs(pair))
    for wrong in (body + b"\0", body[:-1]):
        answer = http.post("/v2/models/tiny/infer", content=wrong, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed_body")
    for size in (True, -1, 1.0, "9", 2**70):
        entry = {"name": "rgb", "datatype": "UINT8", "shape": [1], "parameters": {"binary_data_size": size}}
        text = json.dumps({"inputs": [entry]}).encode()
        answer = http.post("/v2/models/tiny/infer", content=text + b"x", headers=header(str(len(text))))
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed_body"), size


@pytest.mark.parametrize(
    "element", [b"", b"\1\0\0", (2**32 - 1).to_bytes(4, "little") + b"x", with_length(b"a") + b"b"]
)
def test_a_length_inside_a_tensor_of_files_cannot_reach_outside(http, element):
    answer = infer(http, "tiny", {"rgb": ("BYTES", element), "depth": ("BYTES", with_length(b"a"))})
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_body")


def test_batches_have_one_length_and_a_limit(http, pair):
    inputs = raw_inputs(pair)
    two = np.repeat(pair.rgb[None], 2, axis=0)
    answer = infer(http, "tiny", {**inputs, "rgb": ("UINT8", two)})
    assert (answer.status_code, answer.json()["code"]) == (422, "size_mismatch")
    many = np.zeros((65, 1, 1, 3), np.uint8)
    answer = infer(http, "tiny", {"rgb": ("UINT8", many)})
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    answer = infer(http, "tiny", {"rgb": ("UINT8", many[:0])})
    assert (answer.status_code, answer.json()["code"]) == (400, "empty_body")


def test_limits_of_pixels_and_bytes_hold(serving):
    limits = {"max_pixels": 1000, "max_body_bytes": 20_000}
    with serving(**limits) as live, httpx.Client(base_url=live.url, trust_env=False) as http:
        for side, code in ((40, "image_too_large"), (200, "body_too_large")):
            answer = infer(http, "tiny", {"depth": ("UINT8", np.zeros((1, side, side), np.uint8))})
            assert (answer.status_code, answer.json()["code"]) == (413, code)


def test_unknown_models_and_paths_answer_in_the_protocols_words(http):
    for path in ("/v2/models/nothing", "/v2/models/nothing_raw/config", "/v2/models/tiny/versions/9", "/v2/nothing"):
        answer = http.get(path)
        assert answer.status_code == 404
        assert set(answer.json()) == {"error", "code", "request_id"}
    assert http.get("/v2/models/tiny/infer").status_code == 405
    assert http.post("/v2/models/nothing/infer", content=b"{}").json()["code"] == "model_not_found"


def test_a_model_of_one_input_takes_a_bare_file(make_artifact, tmp_path, serving, pair):
    artifact = make_artifact(tmp_path / "bare", name="bare", with_depth=False)
    with serving(artifacts=(artifact,)) as live, httpx.Client(base_url=live.url, trust_env=False) as http:
        answer = http.post("/v2/models/bare/infer", content=pair.files()["rgb"], headers=header("0"))
        _, outputs = read(answer)
    np.testing.assert_array_equal(as_labels(outputs["mask"][4:]), 2 * (pair.labels >= 2))


def test_a_model_whose_own_name_ends_in_raw_is_itself(make_artifact, tmp_path, serving):
    artifact = make_artifact(tmp_path / "cooked_raw", name="cooked_raw")
    with serving(artifacts=(artifact,)) as live:
        assert live.get("/v2/models/cooked_raw").json()["inputs"][0]["datatype"] == "BYTES"
        assert live.get("/v2/models/cooked_raw_raw").json()["inputs"][0]["datatype"] == "UINT8"


def test_a_full_server_refuses_on_the_head_of_a_request(serving, pair):
    body, headers = binary_body(raw_inputs(pair))
    with serving(queue_size=1) as live, socket.create_connection(("127.0.0.1", live.server.http_port)) as slow:
        head = ["POST /v2/models/tiny/infer HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}"]
        head += [f"{name}: {value}" for name, value in headers.items()]
        slow.sendall("\r\n".join([*head, "", ""]).encode())  # its place is kept while its body is on its way
        with httpx.Client(base_url=live.url, trust_env=False) as http:
            for _ in range(50):
                answer = infer(http, "tiny_raw", raw_inputs(pair))
                if answer.status_code != 200:
                    break
        assert (answer.status_code, answer.json()["code"]) == (429, "queue_full")
        assert int(answer.headers["Retry-After"]) >= 1
        slow.sendall(body)
        assert slow.recv(64).startswith(b"HTTP/1.1 200")


def test_the_largest_batch_of_the_configuration_fits(serving, pair):
    with serving(queue_size=4) as live, httpx.Client(base_url=live.url, trust_env=False) as http:
        most = http.get("/v2/models/tiny_raw/config").json()["max_batch_size"]
        inputs = {name: (kind, np.repeat(value, most, axis=0)) for name, (kind, value) in raw_inputs(pair).items()}
        _, outputs = read(infer(http, "tiny_raw", inputs, parameters={"binary_data_output": True}))
    assert outputs["labels"].shape == (4, 48, 64)


NO_PICTURE = {
    "FP32 from 0 to 1": ("FP32", lambda rgb: (rgb / 255).astype("<f4")),
    "FP32, normalized": ("FP32", lambda rgb: ((rgb / 255 - 0.45) / 0.225).astype("<f4")),
    "FP64": ("FP64", lambda rgb: rgb.astype("<f8")),
    "FP16": ("FP16", lambda rgb: rgb.astype("<f2")),
    "UINT16": ("UINT16", lambda rgb: rgb.astype("<u2") * 256),
}


@pytest.mark.parametrize("case", NO_PICTURE)
@pytest.mark.parametrize("align", ["none", "resize"])
def test_colour_of_another_type_is_refused_and_never_cast(http, pair, case, align):
    datatype, cast = NO_PICTURE[case]
    depth = pair.depth_mm if align == "none" else pair.depth_mm[::2, ::2]
    inputs = {"rgb": (datatype, cast(pair.rgb[None])), "depth": ("UINT16", np.ascontiguousarray(depth[None]))}
    answer = infer(http, "tiny_raw", inputs, parameters={"align": align})
    assert answer.status_code == 422, answer.text
    assert "expected uint8" in answer.json()["error"]


@pytest.mark.parametrize("shape", [(1, 3, 48, 64), (1, 1, 48, 64), (48, 64)])
def test_a_tensor_in_another_layout_is_described_by_its_shape(http, pair, shape):
    inputs = {"rgb": ("UINT8", pair.rgb[None]), "depth": ("FP32", np.ones(shape, "<f4"))}
    answer = infer(http, "tiny_raw", inputs)
    assert answer.status_code == 422
    assert str(list(shape)) in answer.json()["error"]


BASE64 = {
    "with line breaks": base64.encodebytes,
    "URL-safe": base64.urlsafe_b64encode,
    "a data URI without padding": lambda data: b"data:;base64," + base64.b64encode(data).rstrip(b"="),
}


@pytest.mark.parametrize("write", BASE64.values(), ids=BASE64)
def test_files_as_base64_of_any_form_are_read(http, pair, write):
    inputs = [
        {"name": name, "shape": [1], "datatype": "BYTES", "data": [write(data).decode()]}
        for name, data in pair.files().items()
    ]
    answer = http.post("/v2/models/tiny/infer", json={"inputs": inputs})
    np.testing.assert_array_equal(as_labels(base64.b64decode(read(answer)[1]["mask"][0])), pair.labels)


def test_answers_are_strict_json_whatever_the_distances(http, pair):
    metres = (pair.depth_mm / 1000).astype("<f4")
    metres[20, 30] = np.finfo("<f4").max
    body = {"inputs": [
        {"name": "rgb", "shape": [1, 48, 64, 3], "datatype": "UINT8", "data": pair.rgb.ravel().tolist()},
        {"name": "depth", "shape": [1, 48, 64], "datatype": "FP32", "data": metres.astype(float).ravel().tolist()},
    ], "parameters": {"classes": True}}  # fmt: skip
    answer = http.post("/v2/models/tiny_raw/infer", json=body)
    document = json.loads(answer.text, parse_constant=lambda text: pytest.fail(f"{text} is no JSON"))
    assert "farther than 100 km" in document["parameters"]["warnings"]
