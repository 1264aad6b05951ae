"""What the headers of every request must keep to, HTTP and WebSocket alike, before anything else looks at them.

A proxy in front and this server have to read a request alike: one that names two hosts, brings two keys or is framed in
an unusual way is rejected, whichever of the two either would have chosen.
"""

from __future__ import annotations

from collections.abc import Sequence

from geminifusion_runtime.errors import BadRequestError, GeminiFusionError
from geminifusion_service.errors import MisdirectedRequestError
from geminifusion_service.security.allowed_hosts import AllowedHosts

_ONCE = frozenset(
    (b"authorization", b"content-length", b"content-type", b"host", b"origin", b"transfer-encoding", b"x-api-key")
)


class HeaderRules:
    """The error of a request whose headers break a rule.

    Args:
        hosts: names of this server; None for any.
    """

    def __init__(self, hosts: AllowedHosts | None) -> None:
        self._hosts = hosts

    def broken_by(
        self, headers: Sequence[tuple[bytes, bytes]], *, http_version: str, upgrades: bool, method: bytes
    ) -> GeminiFusionError | None:
        """The error, or None.

        Args:
            headers: names in lower case.
            http_version: as 1.1.
            upgrades: whether it asks for a WebSocket.
            method: as GET.
        """
        found: dict[bytes, bytes] = {}
        for name, value in headers:
            if name in _ONCE:
                if name in found:
                    return BadRequestError(f"the header {name.decode()} came twice; send it once")
                found[name] = value
        host = found.get(b"host")
        if host is None and http_version == "1.1":
            return BadRequestError("the header host is missing; send the name of this server")
        codings = found.get(b"transfer-encoding")
        if codings is not None and codings.strip().lower() != b"chunked":
            return BadRequestError(
                f"the transfer encoding is {codings[:100].decode('latin-1')!r}; send chunked alone, or a Content-Length"
            )
        if upgrades and (method != b"GET" or codings is not None or b"content-length" in found):
            return BadRequestError(
                "a WebSocket is opened by GET without a body; send neither another method nor a body"
            )
        if host is not None and self._hosts is not None and (name_of_host := host.decode("latin-1")) not in self._hosts:
            return MisdirectedRequestError(
                f"the host is {name_of_host[:100]!r}, which is no name of this server; use localhost or its address, "
                "or name it in --allowed-hosts"
            )
        return None
