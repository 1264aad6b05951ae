"""The REST wire as pure functions: what a request says, and what an answer means."""

from __future__ import annotations

import base64
import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.encoding.run_lengths import labels_from_runs
from geminifusion_runtime.types import Align, Priority, SensorHealth, SensorPolicy

from .errors import BadAnswer, ServerError, answered_error
from .results import ClassShare, Result


@dataclass(frozen=True, kw_only=True)
class SegmentCall:
    """One request, ready for either transport: encoded pictures and options."""

    rgb: bytes
    depth: bytes | None
    depth_scale: float | None = None
    depth_invalid: tuple[float, ...] = ()
    model: str | None = None
    confidence: bool = True
    gate: bool = True
    disagreement: bool = False
    align: Align = "none"
    sensor_policy: SensorPolicy | None = None
    priority: Priority = "normal"
    deadline_ms: float | None = None
    request_id: str
    source: bytes | NDArray[np.uint8]

    def images(self) -> dict[str, bytes]:
        """The pictures to send, by modality."""
        return {"rgb": self.rgb} if self.depth is None else {"rgb": self.rgb, "depth": self.depth}


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """When to ask a busy server again: at most `retries` times, waiting at most `longest_wait_s` each."""

    retries: int
    longest_wait_s: float

    def wait_s(self, attempt: int, advised_s: float | None) -> float | None:
        """Seconds to wait after attempt number `attempt` (from 0) was refused; None to give up."""
        wait = 0.1 * 2**attempt if advised_s is None else advised_s
        return wait if attempt < self.retries and wait <= self.longest_wait_s else None


def may_use_proxy(url: str) -> bool:
    """Whether a proxy named in the environment may stand between: it cannot reach this machine's own loopback."""
    return urlsplit(url).hostname not in ("localhost", "127.0.0.1", "::1")


def segment_query(call: SegmentCall) -> dict[str, str]:
    """The query options of `POST /v1/segment`."""
    query = {
        "format": "json",
        "confidence": str(int(call.confidence)),
        "gate": str(int(call.gate)),
        "disagreement": str(int(call.disagreement)),
        "align": call.align,
        "priority": call.priority,
        "request_id": call.request_id,
    }
    optional = {
        "depth_scale": call.depth_scale,
        "model": call.model,
        "sensor_policy": call.sensor_policy,
        "deadline_ms": call.deadline_ms,
    }
    if call.depth_invalid:
        query["depth_invalid"] = ",".join(map(repr, call.depth_invalid))
    return query | {name: str(value) for name, value in optional.items() if value is not None}


def frame_message(call: SegmentCall) -> bytes:
    """A frame of the WebSocket `/v1/stream`: the length of the head, the head, the pictures."""
    images = call.images()
    options = {
        "format": "json",
        "confidence": call.confidence,
        "gate": call.gate,
        "disagreement": call.disagreement,
        "align": call.align,
        "priority": call.priority,
        "request_id": call.request_id,
        "depth_invalid": list(call.depth_invalid) or None,
        "depth_scale": call.depth_scale,
        "model": call.model,
        "sensor_policy": call.sensor_policy,
        "deadline_ms": call.deadline_ms,
    }
    given = {name: value for name, value in options.items() if value is not None}
    head = json.dumps({"images": {name: len(data) for name, data in images.items()}, **given}).encode()
    return b"".join((struct.pack("<I", len(head)), head, *images.values()))


def result_from_json(body: bytes, source: bytes | NDArray[np.uint8]) -> Result:
    """The result in an answer with `format=json`.

    Raises:
        BadAnswer: the body is not that answer.
    """
    try:
        answer = json.loads(body)
    except ValueError as error:
        raise _not_ours(error) from error
    return result_from_facts(answer, source)


def result_from_facts(answer: dict[str, Any], source: bytes | NDArray[np.uint8]) -> Result:
    """The result in the JSON object of an answer.

    Raises:
        BadAnswer: it is not that.
    """
    try:
        size = answer["size"]
        runs = {int(mask["class_id"]): str(mask["counts"]) for mask in answer["mask"]["rle"]}
        return Result(
            labels=labels_from_runs(runs, int(size["height"]), int(size["width"])),
            classes=tuple(
                ClassShare(
                    id=int(entry["id"]),
                    name=str(entry["name"]),
                    color=(int(entry["color"][0]), int(entry["color"][1]), int(entry["color"][2])),
                    pixels=int(entry["pixels"]),
                    fraction=float(entry["fraction"]),
                    median_depth_m=_optional_float(entry["median_depth_m"]),
                    nearest_depth_m=_optional_float(entry.get("nearest_depth_m")),
                )
                for entry in answer["classes"]
            ),
            model=str(answer["model"]),
            confidence=_half_map(answer.get("confidence")),
            gate=_half_map(answer.get("gate")),
            disagreement=_half_map(answer.get("disagreement")),
            sensors={str(name): SensorHealth(**health) for name, health in answer.get("sensors", {}).items()},
            timings_ms={str(stage): float(ms) for stage, ms in answer["timings_ms"].items()},
            warnings=tuple(map(str, answer["warnings"])),
            request_id=str(answer["request_id"]),
            batch_size=int(answer["batch_size"]),
            source=source,
        )
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise _not_ours(error) from error


def _not_ours(error: Exception) -> BadAnswer:
    return BadAnswer(
        f"the answer is not one of geminifusion's ({type(error).__name__}: {error}); "
        "check the address, and that client and server are of the same release"
    )


def error_from_answer(status: int, headers: Mapping[str, str], body: bytes) -> ServerError:
    """The error an answer of status 400 or above stands for, problem document or not."""
    request_id = headers.get("x-request-id")
    retry_after = seconds(headers.get("retry-after"))
    try:
        problem = json.loads(body)
        detail, code = str(problem["detail"]), str(problem["code"])
        request_id = str(problem["request_id"])
    except (KeyError, TypeError, ValueError):
        text = body[:200].decode("utf-8", "replace").strip() or "no text"
        return answered_error(
            f"the server answered {status}: {text}",
            code=None, status=status, request_id=request_id, retry_after=retry_after,
        )  # fmt: skip
    return answered_error(detail, code=code, status=status, request_id=request_id, retry_after=retry_after)


def seconds(text: str | None) -> float | None:
    """A `Retry-After` in seconds; None for the date form and for nonsense."""
    try:
        value = float(text) if text is not None else None
    except ValueError:
        return None
    return value if value is not None and math.isfinite(value) and value >= 0 else None


def _half_map(entry: dict[str, Any] | None) -> NDArray[np.float32] | None:
    if entry is None:
        return None
    if entry["dtype"] != "float16":
        raise ValueError(f"a map of type {entry['dtype']!r}, expected float16")
    data = base64.b64decode(entry["data"], validate=True)
    return np.frombuffer(data, "<f2").reshape(entry["shape"]).astype(np.float32)


def _optional_float(value: float | None) -> float | None:
    return None if value is None else float(value)
