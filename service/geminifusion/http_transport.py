"""The HTTP interface, with httpx."""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import httpx

from geminifusion_runtime.option_sets import as_text
from geminifusion_runtime.printable import escape_in

from .connection import Credentials
from .detection.calls import DetectCall
from .detection.results import DetectionResult
from .detection.wire import MAX_RESPONSE_BYTES as MAX_DETECTION_BYTES
from .detection.wire import detection_from_json
from .errors import (
    ClientError,
    InvalidInputError,
    InvalidResponseError,
    ResponseTimeoutError,
    ServerUnreachableError,
    requires_extra,
)
from .options import SegmentCall
from .proxies import environment_advice, may_use_proxy, through_proxy, unreachable_advice
from .response_limits import (
    MAX_DOCUMENT_BYTES,
    MAX_PROBLEM_BYTES,
    Body,
    limit_total_time,
    max_response_bytes,
    total_timeout,
)
from .results import Result
from .streaming import FrameResponse
from .translation.calls import TranslateCall
from .translation.results import TranslationResult
from .translation.wire import translation_from_response
from .wire import NOT_OURS, error_from_response, result_from_json, segment_query
from .wrong_port import advice

if TYPE_CHECKING:
    from .websocket_stream import StreamAddress

T = TypeVar("T")
_STREAM = "a stream to an http:// address"
_SLACK_S = 0.05  # in which the timeout of a connection attempt comes first, whose error says more
_HEADERS = {"User-Agent": f"geminifusion/{importlib.metadata.version('geminifusion')}"}


class HttpTransport:
    """One connection pool to one server."""

    def __init__(self, url: str, timeout_s: float, credentials: Credentials) -> None:
        self._url, self._timeout_s, self._credentials = url, timeout_s, credentials
        with _client_errors(url, timeout_s):
            self._http = _opened(httpx.Client, _options(url, timeout_s, credentials))
        limit_total_time(self._http)

    def segment(self, call: SegmentCall) -> Result:
        """Post the images and read the JSON response."""
        body = self._send(
            call.request_id,
            max_response_bytes(call.sources),
            "POST",
            "v1/segment",
            params=segment_query(call),
            files=_parts(call.images),
        )
        return result_from_json(body, call)

    def detect(self, call: DetectCall) -> DetectionResult:
        """Post the parts and read the JSON response."""
        return detection_from_json(self._send(*_detection(call), **_detection_content(call)), call)

    def translate(self, call: TranslateCall) -> TranslationResult:
        """Post the images and read the response."""
        return translation_from_response(*self._exchange(*_translation(call), **_translation_content(call)), call)

    def stream(self, calls: Iterator[SegmentCall], *, newest: bool) -> Iterator[FrameResponse]:
        """Send frames over a WebSocket as fast as they are accepted, and read the responses."""
        with requires_extra(_STREAM, "client"):
            from .websocket_stream import stream_frames_blocking
        return stream_frames_blocking(
            _stream_address(self._url, self._timeout_s, self._credentials), calls, newest=newest
        )

    def models(self) -> list[dict[str, Any]]:
        """The models as the server describes them."""
        return _models(self._send(None, MAX_DOCUMENT_BYTES, "GET", "v1/models"))

    def ready(self) -> bool:
        """Whether the server says it is ready; False while nothing responds."""
        try:
            self._send(None, MAX_DOCUMENT_BYTES, "GET", "healthz/ready")
        except ClientError:
            return False
        return True

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _send(self, request_id: str | None, max_bytes: int, method: str, path: str, **content: Any) -> bytes:  # noqa: ANN401 - httpx's own
        """The body of the response; raises the error of one of 400 and above."""
        return (self._exchange(request_id, max_bytes, method, path, **content))[0]

    def _exchange(
        self,
        request_id: str | None,
        max_bytes: int,
        method: str,
        path: str,
        **content: Any,  # noqa: ANN401 - httpx's own
    ) -> tuple[bytes, httpx.Headers]:
        """Body and headers of the response; raises the error of one of 400 and above."""
        with (
            _client_errors(self._url, self._timeout_s, request_id),
            total_timeout(self._timeout_s),
            self._http.stream(method, path, **content) as response,
        ):
            body = Body(response, max_bytes if response.status_code < 400 else MAX_PROBLEM_BYTES)
            for chunk in response.iter_raw():
                body.add(chunk)
        return _checked(response, body.content), response.headers


class AsyncHttpTransport:
    """`HttpTransport` for an event loop."""

    def __init__(self, url: str, timeout_s: float, credentials: Credentials) -> None:
        self._url, self._timeout_s, self._credentials = url, timeout_s, credentials
        with _client_errors(url, timeout_s):
            self._http = _opened(httpx.AsyncClient, _options(url, timeout_s, credentials))

    async def segment(self, call: SegmentCall) -> Result:
        """Post the images and read the JSON response."""
        body = await self._send(
            call.request_id,
            max_response_bytes(call.sources),
            "POST",
            "v1/segment",
            params=segment_query(call),
            files=_parts(call.images),
        )
        return await asyncio.to_thread(result_from_json, body, call)

    async def detect(self, call: DetectCall) -> DetectionResult:
        """Post the parts and read the JSON response."""
        body = await self._send(*_detection(call), **_detection_content(call))
        return await asyncio.to_thread(detection_from_json, body, call)

    async def translate(self, call: TranslateCall) -> TranslationResult:
        """Post the images and read the response."""
        body, headers = await self._exchange(*_translation(call), **_translation_content(call))
        return await asyncio.to_thread(translation_from_response, body, headers, call)

    def stream(self, calls: AsyncIterator[SegmentCall], *, newest: bool) -> AsyncIterator[FrameResponse]:
        """Send frames over a WebSocket as fast as they are accepted, and read the responses."""
        with requires_extra(_STREAM, "client"):
            from .websocket_stream import stream_frames
        return stream_frames(_stream_address(self._url, self._timeout_s, self._credentials), calls, newest=newest)

    async def models(self) -> list[dict[str, Any]]:
        """The models as the server describes them."""
        return _models(await self._send(None, MAX_DOCUMENT_BYTES, "GET", "v1/models"))

    async def ready(self) -> bool:
        """Whether the server says it is ready; False while nothing responds."""
        try:
            await self._send(None, MAX_DOCUMENT_BYTES, "GET", "healthz/ready")
        except ClientError:
            return False
        return True

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _send(self, request_id: str | None, max_bytes: int, method: str, path: str, **content: Any) -> bytes:  # noqa: ANN401 - httpx's own
        """The body of the response; raises the error of one of 400 and above."""
        return (await self._exchange(request_id, max_bytes, method, path, **content))[0]

    async def _exchange(
        self,
        request_id: str | None,
        max_bytes: int,
        method: str,
        path: str,
        **content: Any,  # noqa: ANN401 - httpx's own
    ) -> tuple[bytes, httpx.Headers]:
        """Body and headers of the response; raises the error of one of 400 and above."""
        with _client_errors(self._url, self._timeout_s, request_id):
            try:
                async with (
                    asyncio.timeout(self._timeout_s + _SLACK_S),
                    self._http.stream(method, path, **content) as response,
                ):
                    body = Body(response, max_bytes if response.status_code < 400 else MAX_PROBLEM_BYTES)
                    async for chunk in response.aiter_raw():
                        body.add(chunk)
            except TimeoutError:
                raise httpx.ReadTimeout("the whole response took too long") from None
        return _checked(response, body.content), response.headers


def _opened(kind: Callable[..., T], options: dict[str, Any]) -> T:
    """A client of httpx, which reads proxies and certificates off the environment and lets any error out.

    Raises:
        InvalidInputError: the environment names what cannot be used.
    """
    try:
        return kind(**options)
    except (ImportError, OSError, ValueError, httpx.InvalidURL) as error:
        httpx.Client(**options | {"trust_env": False}).close()  # raises if it is not the environment's fault
        raise InvalidInputError(environment_advice(error)) from error


def _options(url: str, timeout_s: float, credentials: Credentials) -> dict[str, Any]:
    return {
        "base_url": url,
        "timeout": timeout_s,
        "headers": _headers(credentials) | {"Accept-Encoding": "gzip"},
        "trust_env": may_use_proxy(url),
        "verify": _tls(credentials),
    }


def _headers(credentials: Credentials) -> dict[str, str]:
    key = {} if credentials.api_key is None else {"Authorization": f"Bearer {credentials.api_key}"}
    return _HEADERS | key


def _tls(credentials: Credentials) -> ssl.SSLContext | bool:
    if credentials.ca is None and credentials.certificate is None:
        return True
    try:
        context = ssl.create_default_context(cafile=credentials.ca)
        if credentials.certificate is not None:
            context.load_cert_chain(credentials.certificate, credentials.key)
    except OSError as error:  # ssl.SSLError is one
        raise InvalidInputError(f"cannot use ca, certificate or key ({error}); give PEM files") from None
    return context


def _usual_tls() -> ssl.SSLContext:
    """The authorities that this machine trusts, or that the environment names."""
    try:
        return httpx.create_ssl_context()
    except OSError as error:
        raise InvalidInputError(environment_advice(error)) from error


def _stream_address(url: str, timeout_s: float, credentials: Credentials) -> StreamAddress:
    from .websocket_stream import StreamAddress

    tls = None
    if httpx.URL(url).scheme == "https":
        own = _tls(credentials)
        tls = own if isinstance(own, ssl.SSLContext) else _usual_tls()
    return StreamAddress(url=url, timeout_s=timeout_s, headers=_headers(credentials), tls=tls)


def _detection(call: DetectCall) -> tuple[str, int, str, str]:
    return call.request_id, MAX_DETECTION_BYTES, "POST", "v1/detect"


def _detection_content(call: DetectCall) -> dict[str, Any]:
    return {"params": as_text(call.options), "files": _parts(call.parts)}


def _translation(call: TranslateCall) -> tuple[str, int, str, str]:
    return call.request_id, max_response_bytes(call.sources), "POST", "v1/translate"


def _translation_content(call: TranslateCall) -> dict[str, Any]:
    return {"params": as_text(call.options), "files": _parts(call.images)}


def _parts(images: Mapping[str, bytes]) -> dict[str, tuple[str, bytes, str]]:
    # The service looks at the content, so a general type is as good as the right one.
    kind = "application/octet-stream"
    return {name: (name, content, kind) for name, content in images.items()}


def _checked(response: httpx.Response, body: bytes) -> bytes:
    if response.status_code >= 400:
        raise error_from_response(response.status_code, response.headers, body)
    if response.status_code != 200:
        raise InvalidResponseError(f"the server responded {response.status_code}, expected 200; check the address")
    return body


def _models(body: bytes) -> list[dict[str, Any]]:
    try:
        models = escape_in(json.loads(body)["models"])
        return [dict(model) for model in models]  # type: ignore[attr-defined]  # anything else is caught
    except NOT_OURS:
        raise InvalidResponseError("the list of models is not one of geminifusion's; check the address") from None


@contextmanager
def _client_errors(url: str, timeout_s: float, request_id: str | None = None) -> Iterator[None]:
    try:
        yield
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise InvalidInputError(f"{url!r} is no usable address ({error}); give http://host:port") from None
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        hint = advice(error, url) or unreachable_advice(url)
        raise ServerUnreachableError(
            f"nothing responds at {url}{through_proxy(url)} ({error}); {hint}", request_id=request_id
        ) from error
    except httpx.TimeoutException as error:
        raise ResponseTimeoutError(
            f"{url} did not respond within {timeout_s:g} s; give a longer timeout, or ask at a quieter time",
            request_id=request_id,
        ) from error
    except httpx.TransportError as error:
        raise ServerUnreachableError(
            f"the connection to {url}{through_proxy(url)} broke ({error or type(error).__name__}); "
            f"{advice(error, url) or 'try again'}",
            request_id=request_id,
        ) from error
