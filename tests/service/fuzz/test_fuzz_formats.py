"""Damaged documents by the thousand: each is read or refused with one of our errors, in time and within bounds.

`GEMINIFUSION_TEST_FUZZ=100000 pytest -m slow tests/service/fuzz/test_fuzz_formats.py` makes more of them.
"""

import io
import json
import os
import struct
import time
import tracemalloc

import cv2
import numpy as np
import pytest
from google.protobuf.message import DecodeError
from tests.service.fuzz.mutations import mutated

from geminifusion_runtime.artifact import ArtifactError, read_metadata
from geminifusion_runtime.decoding.image_headers import declared_pixels, read_header
from geminifusion_runtime.errors import GeminiFusionError
from geminifusion_runtime.onnx_external_data import external_files
from geminifusion_runtime.protobuf_wire import WireError
from geminifusion_service.api.open_inference.binary_body import parse_request
from geminifusion_service.api.open_inference.grpc_messages import request_from
from geminifusion_service.pb import open_inference_pb2 as oip
from geminifusion_service.pb import segmentation_pb2 as pb
from geminifusion_service.transport.grpc.message_limits import check_message

pytestmark = pytest.mark.slow

COUNT = int(os.environ.get("GEMINIFUSION_TEST_FUZZ", "500"))
LONGEST_S = 1.0
MOST_BYTES = 32 * 2**20
HOSTILE = [10**30, -1, 1e308, None, True, "", "x" * 10_000, [[]] * 1000, {"a": {}}, "../..", [0] * 5000, 2**63]


def replaced(random, document):
    """A JSON document with a value somewhere in it replaced by a hostile one, taken out, or doubled."""
    places = []

    def walk(value):
        if isinstance(value, (dict, list)):
            for key in list(value) if isinstance(value, dict) else range(len(value)):
                places.append((value, key))
                walk(value[key])

    document = json.loads(json.dumps(document))
    walk(document)
    for index in random.integers(len(places), size=random.integers(1, 4)):
        holder, key = places[index]
        if isinstance(holder, list) and key >= len(holder):
            continue
        if random.random() < 0.2:
            holder.pop(key) if isinstance(holder, list) else holder.pop(key, None)
        else:
            holder[key] = HOSTILE[random.integers(len(HOSTILE))]
    return json.dumps(document).encode()


def check(documents, read, refusals):
    """Read each document; returns how many were read and refused."""
    counts = [0, 0]
    tracemalloc.start()
    try:
        for document in documents:
            started = time.monotonic()
            try:
                read(document)
                counts[0] += 1
            except refusals:
                counts[1] += 1
            assert time.monotonic() - started < LONGEST_S, document[:200]
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
    finally:
        tracemalloc.stop()
    assert min(counts) > 0, counts
    return counts


def tiff_of_random_tags(random):
    order = "<>"[random.integers(2)]
    num_tags = int(random.integers(1, 40))
    numbers = (256, 257, 258, 259, 262, 273, 277, 278, 279, 284, 322, 323, 324, 325, 339)
    tags = [
        (
            int(numbers[random.integers(len(numbers))]) if random.random() < 0.8 else int(random.integers(65_536)),
            int(random.integers(1, 14)) if random.random() < 0.2 else int(random.integers(3, 5)),
            int(random.integers(2**32)) if random.random() < 0.3 else int(random.integers(1, 20)),
            int(random.integers(2**32)) if random.random() < 0.3 else int(random.integers(1, 600)),
        )
        for _ in range(num_tags)
    ]
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, num_tags)
    return head + b"".join(struct.pack(order + "HHII", *tag) for tag in tags) + bytes(4) + random.bytes(2000)


def image_seeds():
    random = np.random.default_rng(0)
    color, depth = (
        random.integers(0, 256, (30, 40, 3), dtype=np.uint8),
        random.integers(0, 9000, (30, 40)).astype(np.uint16),
    )
    for suffix, image, *options in [
        (".png", color),
        (".png", depth),
        (".jpg", color, cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        (".webp", color),
        (".tiff", depth),
    ]:
        yield cv2.imencode(suffix, image, options)[1].tobytes()
    stream = io.BytesIO()
    np.save(stream, depth)
    yield stream.getvalue()


def test_headers_of_images():
    random = np.random.default_rng(1)
    seeds = list(image_seeds())

    def read(data):
        declared_pixels(data)
        read_header(data, "depth")

    documents = (
        tiff_of_random_tags(random) if random.random() < 0.3 else mutated(random, seeds[random.integers(len(seeds))])
        for _ in range(COUNT)
    )
    check(documents, read, GeminiFusionError)


def test_metadata(tiny_artifact, tmp_path):
    random = np.random.default_rng(2)
    text = (tiny_artifact / "metadata.json").read_bytes()

    def read(data):
        (tmp_path / "metadata.json").write_bytes(data)
        read_metadata(tmp_path)

    documents = (
        mutated(random, text) if random.random() < 0.5 else replaced(random, json.loads(text)) for _ in range(COUNT)
    )
    check(documents, read, ArtifactError)


def test_onnx_files(tiny_artifact, tmp_path):
    random = np.random.default_rng(3)
    model = (tiny_artifact / "model.onnx").read_bytes()

    def read(data):
        (tmp_path / "model.onnx").write_bytes(data)
        external_files(tmp_path / "model.onnx", max_bytes=2**20)

    check((mutated(random, model) for _ in range(COUNT)), read, WireError)


def test_open_inference_json():
    random = np.random.default_rng(4)
    document = {
        "id": "a",
        "parameters": {"binary_data_output": True, "confidence": True},
        "inputs": [
            {"name": "rgb", "datatype": "UINT8", "shape": [1, 2, 2, 3], "data": list(range(12))},
            {"name": "depth", "datatype": "FP32", "shape": [1, 2, 2], "data": [[[1.5, 2.5], [0.0, 3.0]]]},
            {"name": "file", "datatype": "BYTES", "shape": [1, 1], "data": ["aGVsbG8="]},
            {"name": "raw", "datatype": "UINT16", "shape": [1, 2], "parameters": {"binary_data_size": 4}},
        ],
        "outputs": [{"name": "labels", "parameters": {"binary_data": True}}],
    }
    text = json.dumps(document).encode()

    def read(data):
        parse_request(
            data + bytes(4), len(data), model_name="m", model_version=None, input_names=["rgb"], max_json_values=2**16
        )

    documents = (mutated(random, text) if random.random() < 0.5 else replaced(random, document) for _ in range(COUNT))
    check(documents, read, GeminiFusionError)


def test_grpc_messages():
    random = np.random.default_rng(5)
    tensor = oip.ModelInferRequest.InferInputTensor(
        name="rgb", datatype="UINT8", shape=[1, 2, 2, 3], contents=oip.InferTensorContents(uint_contents=range(12))
    )
    files = oip.ModelInferRequest.InferInputTensor(
        name="depth", datatype="BYTES", shape=[1], contents=oip.InferTensorContents(bytes_contents=[b"file"])
    )
    infer = oip.ModelInferRequest(model_name="m", id="a", inputs=[tensor, files])
    infer.parameters["confidence"].bool_param = True

    segment = pb.SegmentRequest(images={"rgb": b"file", "depth": b"another"}, request_id="a")

    def read(kind, then):
        def checked(data):
            check_message(data, kind.DESCRIPTOR, max_values=2**16)
            then(kind.FromString(data))

        return checked

    for seed, then in ((infer, request_from), (segment, lambda _: None)):
        documents = (mutated(random, seed.SerializeToString()) for _ in range(COUNT // 2))
        check(documents, read(type(seed), then), (GeminiFusionError, DecodeError))
