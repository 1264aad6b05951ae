"""REST, spoken with httpx."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx

from . import __version__
from .access import Access
from .errors import AnswerTimeout, BadAnswer, BadInput, ServerUnreachable, needing_client_extra
from .results import Result
from .streaming import FrameAnswer
from .wire import SegmentCall, error_from_answer, may_use_proxy, result_from_json, segment_query

if TYPE_CHECKING:
    from .websocket_stream import StreamAddress

_STREAM = "a stream to an http:// address"
_HEADERS = {"User-Agent": f"geminifusion/{__version__}"}


class HttpTransport:
    """One connection pool to one server."""

    def __init__(self, url: str, timeout_s: float, access: Access) -> None:
        self._url, self._timeout_s, self._access = url, timeout_s, access
        with _client_errors(url, timeout_s):
            self._http = httpx.Client(**_options(url, timeout_s, access))

    def segment(self, call: SegmentCall) -> Result:
        """Post a pair and read the JSON answer."""
        with _client_errors(self._url, self._timeout_s, call.request_id):
            response = self._http.post("v1/segment", params=segment_query(call), files=_parts(call))
        return result_from_json(_checked(response), call.source)

    def stream(self, calls: Iterator[SegmentCall], *, newest: bool) -> Iterator[FrameAnswer]:
        """Send frames over a WebSocket as fast as they are taken and read their answers."""
        with needing_client_extra(_STREAM):
            from .websocket_stream import answered_in_thread
        return answered_in_thread(_stream_address(self._url, self._timeout_s, self._access), calls, newest=newest)

    def models(self) -> list[dict[str, Any]]:
        """The models as the server describes them."""
        with _client_errors(self._url, self._timeout_s):
            response = self._http.get("v1/models")
        return _models(_checked(response))

    def ready(self) -> bool:
        """Whether the server says it is ready; False while nothing answers."""
        try:
            return self._http.get("healthz/ready").status_code == 200
        except httpx.TransportError:
            return False

    def close(self) -> None:
        """Close the connections."""
        self._http.close()


class AsyncHttpTransport:
    """`HttpTransport` for an event loop."""

    def __init__(self, url: str, timeout_s: float, access: Access) -> None:
        self._url, self._timeout_s, self._access = url, timeout_s, access
        with _client_errors(url, timeout_s):
            self._http = httpx.AsyncClient(**_options(url, timeout_s, access))

    async def segment(self, call: SegmentCall) -> Result:
        """Post a pair and read the JSON answer."""
        with _client_errors(self._url, self._timeout_s, call.request_id):
            response = await self._http.post("v1/segment", params=segment_query(call), files=_parts(call))
        return await asyncio.to_thread(result_from_json, _checked(response), call.source)

    def stream(self, calls: AsyncIterator[SegmentCall], *, newest: bool) -> AsyncIterator[FrameAnswer]:
        """Send frames over a WebSocket as fast as they are taken and read their answers."""
        with needing_client_extra(_STREAM):
            from .websocket_stream import answered
        return answered(_stream_address(self._url, self._timeout_s, self._access), calls, newest=newest)

    async def models(self) -> list[dict[str, Any]]:
        """The models as the server describes them."""
        with _client_errors(self._url, self._timeout_s):
            response = await self._http.get("v1/models")
        return _models(_checked(response))

    async def ready(self) -> bool:
        """Whether the server says it is ready; False while nothing answers."""
        try:
            return (await self._http.get("healthz/ready")).status_code == 200
        except httpx.TransportError:
            return False

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()


def _options(url: str, timeout_s: float, access: Access) -> dict[str, Any]:
    return {
        "base_url": url,
        "timeout": timeout_s,
        "headers": _headers(access),
        "trust_env": may_use_proxy(url),
        "verify": _trust(access),
    }


def _headers(access: Access) -> dict[str, str]:
    key = {} if access.api_key is None else {"Authorization": f"Bearer {access.api_key}"}
    return _HEADERS | key


def _trust(access: Access) -> ssl.SSLContext | bool:
    if access.ca is None and access.certificate is None:
        return True
    try:
        context = ssl.create_default_context(cafile=access.ca)
        if access.certificate is not None:
            context.load_cert_chain(access.certificate, access.key)
    except OSError as error:  # ssl.SSLError is one
        raise BadInput(f"cannot use ca, certificate or key ({error}); give PEM files") from None
    return context


def _stream_address(url: str, timeout_s: float, access: Access) -> StreamAddress:
    from .websocket_stream import StreamAddress

    trust = None
    if httpx.URL(url).scheme == "https":
        own = _trust(access)
        trust = own if isinstance(own, ssl.SSLContext) else httpx.create_ssl_context()
    return StreamAddress(url=url, timeout_s=timeout_s, headers=_headers(access), trust=trust)


def _parts(call: SegmentCall) -> dict[str, tuple[str, bytes, str]]:
    # The service looks at the content, so a general type is as good as the right one.
    kind = "application/octet-stream"
    return {name: (name, content, kind) for name, content in call.images().items()}


def _checked(response: httpx.Response) -> bytes:
    if response.status_code >= 400:
        raise error_from_answer(response.status_code, response.headers, response.content)
    return response.content


def _models(body: bytes) -> list[dict[str, Any]]:
    try:
        models = json.loads(body)["models"]
        return [dict(model) for model in models]
    except (KeyError, TypeError, ValueError):
        raise BadAnswer("the list of models is not one of geminifusion's; check the address") from None


@contextmanager
def _client_errors(url: str, timeout_s: float, request_id: str | None = None) -> Iterator[None]:
    try:
        yield
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise BadInput(f"{url!r} is no usable address ({error}); give http://host:port") from None
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise ServerUnreachable(
            f"nothing answers at {url} ({error}); start it with `geminifusion serve`, or check the address",
            request_id=request_id,
        ) from error
    except httpx.TimeoutException as error:
        raise AnswerTimeout(
            f"{url} did not answer within {timeout_s:g} s; give a longer timeout, or ask at a quieter time",
            request_id=request_id,
        ) from error
    except httpx.TransportError as error:
        raise ServerUnreachable(
            f"the connection to {url} broke ({error or type(error).__name__}); try again",
            request_id=request_id,
        ) from error
