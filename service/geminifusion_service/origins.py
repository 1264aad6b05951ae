"""Web origins, compared as (scheme, host, port): RFC 6454. As text, `https://a.org` and `https://a.org:443` differ."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple
from urllib.parse import urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}
ANY, OPAQUE = "*", "null"  # what pages in a sandbox and files say is their origin


class Origin(NamedTuple):
    """A web origin."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        """The origin as browsers write it: a default port is left out."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + ("" if self.port == _DEFAULT_PORTS[self.scheme] else f":{self.port}")


def parse_origin(text: str) -> Origin:
    """The origin of `https://host:port`.

    Raises:
        ValueError: it is none.
    """
    parts = urlsplit(text)
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or parts.username is not None:
        raise ValueError(f"{text!r} is no web origin; give it as https://host or http://host:port")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError(f"{text!r} has more than a web origin; give {parts.scheme}://{parts.netloc}")
    return Origin(parts.scheme, parts.hostname, parts.port or _DEFAULT_PORTS[parts.scheme])


def parse_origins(text: str) -> tuple[str, ...]:
    """The origins of `https://a.org,https://b.org:8443`, as browsers write them; `*` for any.

    Raises:
        ValueError: one of them is no origin.
    """
    names = filter(None, (part.strip() for part in text.split(",")))
    return tuple(name if name in (ANY, OPAQUE) else str(parse_origin(name)) for name in names)


def origin_allowed(origin: str | None, *, host: str, is_secure: bool, allowed: Collection[str]) -> bool:
    """Whether a page may open a WebSocket.

    A browser lets every page open one to anywhere, and sends the cookies of this server along; nothing but this check
    keeps other sites out. Programs other than browsers send no origin.

    Args:
        origin: the header of that name.
        host: the header of that name: what the client thinks this server is.
        is_secure: whether the client came over TLS. Behind a proxy that ends TLS that cannot be seen, so without it a
            page of either scheme may be of this server.
        allowed: of `parse_origins`.
    """
    if origin is None or ANY in allowed or origin in allowed:
        return True
    try:
        page = parse_origin(origin)
        own = urlsplit(f"//{host}")
        own_port = own.port or _DEFAULT_PORTS[page.scheme]
    except ValueError:
        return False
    if str(page) in allowed:
        return True
    return (page.host, page.port) == (own.hostname, own_port) and (page.scheme == "https" or not is_secure)
