"""A client of the service, over HTTP or gRPC by the scheme of the address."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar, Unpack, overload

from .connection import Credentials, RetryPolicy, is_grpc
from .detection.calls import CalibrationInput, CloudInput, DetectCall, DetectionCallOptions, detect_call
from .detection.results import DetectionResult
from .errors import ServerBusyError, requires_extra
from .images import ImageInput
from .options import CallOptions, Frame, FrameOptions, SegmentCall, frame_call, segment_call, split_arguments
from .results import Result
from .streaming import FrameResponse, StreamMode, is_newest
from .translation.calls import TranslateCall, translate_call
from .translation.results import TranslationResult

_T = TypeVar("_T")


class Client:
    """Ask a running service for masks, images of another domain, or boxes.

    ```python
    with Client("http://localhost:8000") as client:
        result = client.segment("rgb.jpg", "depth.png")
        result = client.segment(rgb="rgb.jpg", thermal="thermal.tiff")  # of a model that takes thermal pictures
    ```

    Safe to share between threads.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 30.0,
        retries: int = 2,
        api_key: str | None = None,
        ca: str | Path | None = None,
        certificate: str | Path | None = None,
        key: str | Path | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Prepare a connection; nothing is sent yet.

        Args:
            url: `http://host:port`, `https://…`, `grpc://host:port` or `grpcs://…`.
            timeout: seconds to wait for one response.
            retries: how often a request that a busy server rejected is sent again, after the time it advises; a
                wait longer than `timeout` is not taken.
            api_key: for a server that asks for one.
            ca: PEM file of the authorities to trust for `https` and `grpcs`, instead of those this machine trusts.
            certificate, key: PEM files of the client's own, for a server that asks for them.
            sleep: how to wait.

        Raises:
            InvalidInputError: the address or an argument makes no sense.
        """
        self._policy = RetryPolicy(retries=retries, timeout_s=timeout)
        self._sleep = sleep
        credentials = Credentials(api_key=api_key, ca=ca, certificate=certificate, key=key)
        self._transport = _transport(url, timeout, credentials)

    @overload
    def segment(
        self, rgb: ImageInput | None = None, depth: ImageInput | None = None, **options: Unpack[CallOptions]
    ) -> Result: ...
    @overload
    def segment(
        self,
        rgb: ImageInput | None = None,
        depth: ImageInput | None = None,
        **others: Any,  # noqa: ANN401 - images of further modalities, and options
    ) -> Result: ...
    def segment(
        self,
        rgb: ImageInput | None = None,
        depth: ImageInput | None = None,
        **others: Any,
    ) -> Result:
        """Segment one scene, of which there is an image by each modality of the model.

        Modalities that the model was trained to miss may be left out, rgb included; `models()` tells which there are,
        what to send for each, and which are optional.

        Args:
            rgb: path or bytes of a PNG, JPEG or WebP, or an `H W 3` uint8 array.
            depth: path or bytes of a 16-bit PNG, TIFF or npy, or an array: `H W` floats are metres, `H W`
                uint16 counts units of `depth_scale`. 0, NaN and negative mean "no measurement".
            others: images of further modalities by name, such as `thermal="thermal.tiff"`: path or bytes of a file, or
                an array, `H W` or `H W 3` of uint8, uint16 or floats. And options of the request as
                `geminifusion_runtime.options.SegmentOptions` describes them, such as `depth_scale=0.001`,
                `thermal_invalid=65535`, `model="name@version"` or `deadline_ms=200`. The maps `confidence` and `gate`
                are fetched unless they are False.

        Raises:
            ClientError: see `geminifusion.errors`.
        """
        images, options = split_arguments(rgb, depth, others)
        call = segment_call(images, {"confidence": True, "gate": True, **options})
        return self._with_retries(lambda: self._transport.segment(call))

    def detect(
        self,
        rgb: ImageInput,
        points: CloudInput,
        calibration: CalibrationInput,
        **options: Unpack[DetectionCallOptions],
    ) -> DetectionResult:
        """Detect objects in one frame, for which the server needs a model for 3-D object detection.

        ```python
        result = client.detect("image_2/000000.png", "velodyne/000000.bin", "calib/000000.txt")
        ```

        Args:
            rgb: path or bytes of a PNG, JPEG or WebP, or an `H W 3` uint8 array.
            points: path or bytes of KITTI's `.bin` or an npy, or an array `P 4`: x, y, z in metres in LiDAR axes and
                reflectance 0…1; or `P 3`.
            calibration: path or bytes of KITTI's text or JSON, a mapping with `P2`, `R0_rect` and `Tr_velo_to_cam`, or
                a `geminifusion_runtime.detection.calibration.Calibration`.
            options: as `geminifusion_runtime.tasks.detection.options.DetectOptions` describes them.

        Raises:
            ClientError: see `geminifusion.errors`.
        """
        call = detect_call(rgb, points, calibration, options)
        return self._with_retries(lambda: self._transport.detect(call))

    def translate(
        self,
        rgb: ImageInput | None = None,
        depth: ImageInput | None = None,
        **others: Any,  # noqa: ANN401 - images of further inputs, and options
    ) -> TranslationResult:
        """Translate one view to another domain, for which the server needs a model for image translation.

        ```python
        result = client.translate(rgb="rgb.png", edge_occlusion="edges.png")
        result.save("depth.png")
        ```

        Args:
            rgb, depth: as `segment` takes them; None where the model has no such input.
            others: images of further inputs by name, 8-bit pictures as files or arrays, `H W` or `H W 3` uint8; and
                options of the request as `geminifusion_runtime.tasks.translation.options.TranslateOptions` describes
                them, such as `model="name@version"`.

        Raises:
            ClientError: see `geminifusion.errors`.
        """
        call = translate_call({"rgb": rgb, "depth": depth, **others})
        return self._with_retries(lambda: self._transport.translate(call))

    def stream(
        self, frames: Iterable[Frame], *, mode: StreamMode = "ordered", **options: Unpack[FrameOptions]
    ) -> Iterator[FrameResponse]:
        """Segment frame after frame over one stream: of gRPC, or over `http://` a WebSocket.

        ```python
        for response in client.stream(camera, mode="newest"):
            if response.result is not None:
                show(response.result)
        ```

        Frames are taken, in another thread, as fast as the server accepts them, and no more are taken while nobody
        asks for responses. Nothing is sent twice: where a stream breaks, the caller sends on the frames that have no
        response.

        Args:
            frames: each the rgb, a tuple of rgb and depth, or a mapping of modalities to images; images as `segment`
                takes them.
            mode: `ordered` responds to every frame, in their order. `newest` is for cameras: a frame on which the
                engine has not begun is superseded by the next one and its response says so at once, so that the delay
                stays that of a frame or two; responses to all other frames keep their order.
            options: as for `segment`, for all frames; no map is fetched unless it is asked for.

        Raises:
            ClientError: the stream cannot be opened or breaks. An error of a single frame is in its response.
        """
        newest = is_newest(mode)
        return self._transport.stream((frame_call(frame, options) for frame in frames), newest=newest)

    def models(self) -> list[dict[str, Any]]:
        """The models served, each as the server describes it (`name`, `version`, `classes`, …)."""
        return self._with_retries(self._transport.models)

    def ready(self) -> bool:
        """Whether the server is up, its models verified and warm."""
        return self._transport.ready()

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _with_retries(self, ask: Callable[[], _T]) -> _T:
        attempt = 0
        while True:
            try:
                return ask()
            except ServerBusyError as busy:
                wait_s = self._policy.wait_s(attempt, busy.retry_after)
                if wait_s is None:
                    raise
            self._sleep(wait_s)
            attempt += 1


class _Transport(Protocol):
    def segment(self, call: SegmentCall) -> Result: ...
    def detect(self, call: DetectCall) -> DetectionResult: ...
    def translate(self, call: TranslateCall) -> TranslationResult: ...
    def stream(self, calls: Iterator[SegmentCall], *, newest: bool) -> Iterator[FrameResponse]: ...
    def models(self) -> list[dict[str, Any]]: ...
    def ready(self) -> bool: ...
    def close(self) -> None: ...


def _transport(url: str, timeout_s: float, credentials: Credentials) -> _Transport:
    if is_grpc(url):
        with requires_extra("a grpc:// address", "client"):
            from .grpc_transport import GrpcTransport
        return GrpcTransport(url, timeout_s, credentials)
    from .http_transport import HttpTransport

    return HttpTransport(url, timeout_s, credentials)
