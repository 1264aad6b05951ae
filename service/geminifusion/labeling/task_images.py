"""The images of a task: from addresses of allowed hosts, from files below one folder, or from the task itself.

Whoever can write tasks chooses the addresses, so nothing else is opened: no other host, also not by a redirect, and no
file outside the folder.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx

from geminifusion_runtime.bounded_files import UnusableFileError, read_bounded
from geminifusion_runtime.decoding.image_headers import declared_pixels

from ..errors import InvalidInputError, InvalidResponseError, ResponseTimeoutError, ServerUnreachableError
from ..proxies import may_use_proxy
from ..response_limits import Body, limit_total_time, total_timeout
from .access_tokens import AccessToken

MAX_BYTES = 2**26
MAX_PIXELS = 2**26
_MAX_REDIRECTS = 3
_TIMEOUT_S = 20.0  # Label Studio gives up on all images of a request after 100
_LOCAL_FILES = "/data/local-files/"
_PORTS = {"http": 80, "https": 443}

Place = tuple[str, int]
"""Name of a host in lower case, and port."""


class TaskImages:
    """Reads images of tasks. Safe to share between threads."""

    def __init__(
        self,
        *,
        label_studio: str | None = None,
        token: str | None = None,
        hosts: Iterable[str] = (),
        files: Path | None = None,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        """Nothing is read yet.

        Args:
            label_studio: address of Label Studio, for files uploaded to it; an allowed host as well.
            token: for Label Studio, as it issues them; sent to no other host.
            hosts: further hosts to read from, `host` for its usual ports or `host:port`.
            files: the folder that Label Studio serves as local files, its `LOCAL_FILES_DOCUMENT_ROOT`.
            max_bytes: most bytes of one image.

        Raises:
            InvalidInputError: an address or a host makes no sense.
        """
        self._base = label_studio and label_studio.rstrip("/") + "/"
        self._home = _place(self._base) if self._base else None
        self._token = AccessToken(token, self._base) if token and self._base else None
        self._files, self._max_bytes = files, max_bytes
        self._allowed = {place for host in hosts for place in _places(host)}
        if self._home:
            self._allowed.add(self._home)
        headers = {"Accept-Encoding": "gzip"}
        self._direct = httpx.Client(timeout=_TIMEOUT_S, headers=headers, trust_env=False)
        self._proxied = httpx.Client(timeout=_TIMEOUT_S, headers=headers)
        for http in (self._direct, self._proxied):
            limit_total_time(http)

    def read(self, address: str) -> bytes:
        """The encoded image at an address of a task's data.

        Raises:
            InvalidInputError: it is of a kind or place that is not allowed, missing, too large, or no image.
            ServerUnreachableError: the host does not respond.
            ResponseTimeoutError: the image did not come in time.
        """
        shown = address[:200]
        if address.startswith("data:"):
            content = self._inline(address)
        elif address.startswith(_LOCAL_FILES) and self._files is not None:
            content = self._file(self._files, parse_qs(urlsplit(address).query).get("d", [""])[0])
        elif address.startswith("/"):
            if self._base is None:
                option = "--files" if address.startswith(_LOCAL_FILES) else "--label-studio"
                raise InvalidInputError(f"{shown} is a file of Label Studio's; say where that is with {option}")
            content = self._download(urljoin(self._base, address))
        elif urlsplit(address).scheme in _PORTS:
            content = self._download(address)
        else:
            raise InvalidInputError(
                f"{shown!r} is no address that is read; expected http(s)://…, a file of Label Studio's (/data/…) or "
                "data:image/…;base64,…"
            )
        if (pixels := declared_pixels(content)) > MAX_PIXELS:
            raise InvalidInputError(f"{shown} has {pixels} pixels, at most {MAX_PIXELS} are read; reduce it")
        return content

    def close(self) -> None:
        """Close the connections."""
        self._direct.close()
        self._proxied.close()

    def _inline(self, address: str) -> bytes:
        head, _, text = address.partition(",")
        if not head.endswith(";base64") or len(text) > self._max_bytes * 4 // 3 + 4:
            raise InvalidInputError(
                f"{head[:60]},… is not in base64 or has more than {self._max_bytes} bytes; give an address instead"
            )
        try:
            return base64.b64decode(text, validate=True)
        except binascii.Error as error:
            raise InvalidInputError(f"{head[:60]},… is damaged base64 ({error}); import the task again") from None

    def _file(self, root: Path, name: str) -> bytes:
        try:
            return read_bounded(root / name.lstrip("/"), inside=root, max_bytes=self._max_bytes)
        except UnusableFileError as error:
            raise InvalidInputError(str(error)) from None
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise InvalidInputError(f"{name!r} cannot be read in {root} ({reason}); check --files") from None

    def _download(self, url: str) -> bytes:
        for _ in range(_MAX_REDIRECTS + 1):
            place = _place(url)
            if place not in self._allowed:
                raise InvalidInputError(
                    f"{place[0]}:{place[1]} is no host that images are read from; allow it with --allow-host "
                    f"{place[0]}:{place[1]}"
                )
            response, content = self._get(url, place)
            if not response.has_redirect_location:
                if response.status_code == 200:
                    return content
                advice = "set the token of Label Studio" if response.status_code in (401, 403) else "check the address"
                raise InvalidInputError(f"{url[:200]} responded {response.status_code}, expected 200; {advice}")
            url = urljoin(url, response.headers["location"])
        raise InvalidInputError(f"{url[:200]} redirects more than {_MAX_REDIRECTS} times; give the final address")

    def _get(self, url: str, place: Place) -> tuple[httpx.Response, bytes]:
        http = self._proxied if may_use_proxy(url) else self._direct
        with _client_errors(url, self._max_bytes), total_timeout(_TIMEOUT_S):
            headers = self._token.headers(http) if self._token and place == self._home else {}
            with http.stream("GET", url, headers=headers) as response:
                body = Body(response, self._max_bytes)
                if response.status_code == 200:
                    for chunk in response.iter_raw():
                        body.add(chunk)
        return response, body.content

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _place(url: str) -> Place:
    """The host and port of an address.

    Raises:
        InvalidInputError: it has none, or is not of HTTP.
    """
    try:
        parsed = httpx.URL(url)  # what sends the request reads the address, so that no two readings can differ
    except httpx.InvalidURL as error:
        raise InvalidInputError(f"{url[:200]!r} is no usable address ({error}); give http://host:port/…") from None
    port = parsed.port or _PORTS.get(parsed.scheme)
    if not parsed.host or port is None or parsed.scheme not in _PORTS:
        raise InvalidInputError(f"{url[:200]!r} is no address of a host; give http://host:port/…")
    return parsed.raw_host.decode("ascii"), port


def _places(host: str) -> list[Place]:
    """The places that an allowed host names."""
    try:
        parts = urlsplit(f"//{host}")
        name, port = parts.hostname, parts.port
    except ValueError:
        name = port = None
    if not name or parts.netloc != host or "@" in host:
        raise InvalidInputError(f"{host!r} is no host; give host or host:port, without http://")
    return [(name, port)] if port else [(name, usual) for usual in _PORTS.values()]


@contextmanager
def _client_errors(url: str, max_bytes: int) -> Iterator[None]:
    shown = url[:200]
    try:
        yield
    except InvalidResponseError:
        raise InvalidInputError(
            f"{shown} has more than {max_bytes} bytes, or cannot be decompressed; give a smaller image"
        ) from None
    except httpx.TimeoutException as error:
        raise ResponseTimeoutError(f"{shown} did not come within {_TIMEOUT_S:g} s; give a smaller image") from error
    except httpx.TransportError as error:
        raise ServerUnreachableError(f"{shown} cannot be read ({error or type(error).__name__}); try again") from error
