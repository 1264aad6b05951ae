"""The HTTP interface, with httpx."""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import httpx

from .connection import Credentials
from .errors import (
    InvalidInputError,
    InvalidResponseError,
    ResponseTimeoutError,
    ServerUnreachableError,
    requires_extra,
)
from .options import SegmentCall
from .proxies import environment_advice, may_use_proxy, through_proxy, unreachable_advice
from .results import Result
from .streaming import FrameResponse
from .wire import error_from_response, result_from_json, segment_query
from .wrong_port import advice

if TYPE_CHECKING:
    from .websocket_stream import StreamAddress

T = TypeVar("T")
_STREAM = "a stream to an http:// address"
_HEADERS = {"User-Agent": f"geminifusion/{importlib.metadata.version('geminifusion')}"}


class HttpTransport:
    """One connection pool to one server."""

    def __init__(self, url: str, timeout_s: float, credentials: Credentials) -> None:
        self._url, self._timeout_s, self._credentials = url, timeout_s, credentials
        with _client_errors(url, timeout_s):
            self._http = _opened(httpx.Client, _options(url, timeout_s, credentials))

    def segment(self, call: SegmentCall) -> Result:
        """Post the images and read the JSON response."""
        with _client_errors(self._url, self._timeout_s, call.request_id):
            response = self._http.post("v1/segment", params=segment_query(call), files=_parts(call))
        return result_from_json(_checked(response), call.sources)

    def stream(self, calls: Iterator[SegmentCall], *, newest: bool) -> Iterator[FrameResponse]:
        """Send frames over a WebSocket as fast as they are accepted, and read the responses."""
        with requires_extra(_STREAM, "client"):
            from .websocket_stream import stream_frames_blocking
        return stream_frames_blocking(
            _stream_address(self._url, self._timeout_s, self._credentials), calls, newest=newest
        )

    def models(self) -> list[dict[str, Any]]:
        """The models as the server describes them."""
        with _client_errors(self._url, self._timeout_s):
            response = self._http.get("v1/models")
        return _models(_checked(response))

    def ready(self) -> bool:
        """Whether the server says it is ready; False while nothing responds."""
        try:
            return self._http.get("healthz/ready").status_code == 200
        except httpx.TransportError:
            return False

    def close(self) -> None:
        """Close the connections."""
        self._http.close()


class AsyncHttpTransport:
    """`HttpTransport` for an event loop."""

    def __init__(self, url: str, timeout_s: float, credentials: Credentials) -> None:
        self._url, self._timeout_s, self._credentials = url, timeout_s, credentials
        with _client_errors(url, timeout_s):
            self._http = _opened(httpx.AsyncClient, _options(url, timeout_s, credentials))

    async def segment(self, call: SegmentCall) -> Result:
        """Post the images and read the JSON response."""
        with _client_errors(self._url, self._timeout_s, call.request_id):
            response = await self._http.post("v1/segment", params=segment_query(call), files=_parts(call))
        return await asyncio.to_thread(result_from_json, _checked(response), call.sources)

    def stream(self, calls: AsyncIterator[SegmentCall], *, newest: bool) -> AsyncIterator[FrameResponse]:
        """Send frames over a WebSocket as fast as they are accepted, and read the responses."""
        with requires_extra(_STREAM, "client"):
            from .websocket_stream import stream_frames
        return stream_frames(_stream_address(self._url, self._timeout_s, self._credentials), calls, newest=newest)

    async def models(self) -> list[dict[str, Any]]:
        """The models as the server describes them."""
        with _client_errors(self._url, self._timeout_s):
            response = await self._http.get("v1/models")
        return _models(_checked(response))

    async def ready(self) -> bool:
        """Whether the server says it is ready; False while nothing responds."""
        try:
            return (await self._http.get("healthz/ready")).status_code == 200
        except httpx.TransportError:
            return False

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()


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
        "headers": _headers(credentials),
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


def _parts(call: SegmentCall) -> dict[str, tuple[str, bytes, str]]:
    # The service looks at the content, so a general type is as good as the right one.
    kind = "application/octet-stream"
    return {name: (name, content, kind) for name, content in call.images.items()}


def _checked(response: httpx.Response) -> bytes:
    if response.status_code >= 400:
        raise error_from_response(response.status_code, response.headers, response.content)
    return response.content


def _models(body: bytes) -> list[dict[str, Any]]:
    try:
        models = json.loads(body)["models"]
        return [dict(model) for model in models]
    except (KeyError, TypeError, ValueError):
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
