"""One 640x480 pair as the service's clients would post it, over every transport.

The pair is one of the bundled scenes, resized and encoded anew: an 8-bit RGB PNG and a 16-bit depth PNG in millimetres.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from load import Load
from numpy.typing import NDArray

import geminifusion_runtime
from geminifusion_service.pb import open_inference_pb2, segmentation_pb2

SCENE = "livingroom"
_BOUNDARY = b"benchmark-boundary-3f9c1e"


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The files of one request."""

    rgb: bytes
    depth: bytes
    height: int
    width: int

    @property
    def files(self) -> dict[str, bytes]:
        """The files by modality."""
        return {"rgb": self.rgb, "depth": self.depth}

    def __str__(self) -> str:
        return (
            f"{self.width}x{self.height}: RGB PNG {len(self.rgb) / 1000:.0f} kB, "
            f"16-bit depth PNG {len(self.depth) / 1000:.0f} kB"
        )


def pair_of(height: int = 480, width: int = 640, scene: str = SCENE) -> Pair:
    """A bundled scene at any size."""
    folder = Path(geminifusion_runtime.__file__).parent / "pairs"
    rgb = cv2.imread(str(folder / f"{scene}.rgb.jpg"), cv2.IMREAD_COLOR)
    depth = cv2.imread(str(folder / f"{scene}.depth_mm.png"), cv2.IMREAD_UNCHANGED)
    assert rgb is not None
    assert depth is not None
    rgb = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
    depth = cv2.resize(depth, (width, height), interpolation=cv2.INTER_NEAREST_EXACT).astype(np.uint16)
    return Pair(rgb=_png(rgb), depth=_png(depth), height=height, width=width)


def _png(image: NDArray[np.integer[Any] | np.floating[Any]]) -> bytes:
    done, data = cv2.imencode(".png", image)
    assert done
    return data.tobytes()


@dataclass(frozen=True, kw_only=True)
class Transport:
    """One way to post a pair: how it is spoken, and a request as it goes over the wire."""

    name: str
    protocol: str  # http or grpc
    rpc: str
    request: bytes

    def load(self, host: str, port: int, folder: Path, **settings: object) -> Load:
        """A load of this request alone; it is written into `folder` for the generator."""
        return load_of([self], host, port, folder, **settings)


def load_of(requests: Sequence[Transport], host: str, port: int, folder: Path, **settings: object) -> Load:
    """A load of several requests of one protocol, in turn."""
    first = requests[0]
    assert {(request.protocol, request.rpc) for request in requests} == {(first.protocol, first.rpc)}
    names = []
    for index, request in enumerate(requests):
        file = folder / f"{request.name.replace(' ', '-')}-{index}"
        file.write_bytes(request.request)
        names.append(str(file))
    return Load(transport=first.protocol, host=host, port=port, requests=names, rpc=first.rpc, **settings)  # type: ignore[arg-type]


def multipart(pair: Pair, query: str = "") -> Transport:
    """POST /v1/segment with two files, as curl -F does."""
    parts = b"".join(
        b'--%s\r\nContent-Disposition: form-data; name="%b"; filename="%b.png"\r\n'
        b"Content-Type: image/png\r\n\r\n%b\r\n" % (_BOUNDARY, name.encode(), name.encode(), data)
        for name, data in pair.files.items()
    )
    body = parts + b"--%s--\r\n" % _BOUNDARY
    kind = b"multipart/form-data; boundary=%b" % _BOUNDARY
    return Transport(name="REST multipart", protocol="http", rpc="", request=http(f"/v1/segment{query}", kind, body))


def open_inference_binary(pair: Pair, model: str) -> Transport:
    """POST /v2/models/MODEL/infer with the files as binary BYTES tensors, a mask file back."""
    tensors = [_bytes_tensor(data) for data in pair.files.values()]
    header = json.dumps(
        {
            "inputs": [
                {"name": name, "datatype": "BYTES", "shape": [1, 1], "parameters": {"binary_data_size": len(tensor)}}
                for name, tensor in zip(pair.files, tensors, strict=True)
            ],
            "outputs": [{"name": "mask", "parameters": {"binary_data": True}}],
        }
    ).encode()
    request = http(
        f"/v2/models/{model}/infer",
        b"application/octet-stream",
        header + b"".join(tensors),
        f"Inference-Header-Content-Length: {len(header)}\r\n".encode(),
    )
    return Transport(name="Open Inference binary", protocol="http", rpc="", request=request)


def grpc_segment(pair: Pair) -> Transport:
    """The unary call of our own protocol."""
    message = segmentation_pb2.SegmentRequest(images=pair.files)
    rpc = "/geminifusion.v1.Segmentation/Segment"
    return Transport(name="gRPC", protocol="grpc", rpc=rpc, request=message.SerializeToString())


def open_inference_grpc(pair: Pair, model: str) -> Transport:
    """ModelInfer with the files in raw_input_contents."""
    message = open_inference_pb2.ModelInferRequest(model_name=model)
    for name, data in pair.files.items():
        message.inputs.add(name=name, datatype="BYTES", shape=[1, 1])
        message.raw_input_contents.append(_bytes_tensor(data))
    message.outputs.add(name="mask")
    rpc = "/inference.GRPCInferenceService/ModelInfer"
    return Transport(name="Open Inference gRPC", protocol="grpc", rpc=rpc, request=message.SerializeToString())


def transports(pair: Pair, model: str) -> list[Transport]:
    """One request for each of the four transports."""
    return [
        multipart(pair),
        open_inference_binary(pair, model),
        grpc_segment(pair),
        open_inference_grpc(pair, model),
    ]


def _bytes_tensor(data: bytes) -> bytes:
    return struct.pack("<I", len(data)) + data


def http(path: str, content_type: bytes, body: bytes, more: bytes = b"") -> bytes:
    """A whole POST request."""
    head = (
        b"POST %b HTTP/1.1\r\nHost: benchmark\r\nContent-Type: %b\r\n" % (path.encode(), content_type)
        + more
        + b"Content-Length: %d\r\n\r\n" % len(body)
    )
    return head + body
