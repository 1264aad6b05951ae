"""Which names of this server a request may use in `Host`.

A web page can have the name of its own site resolve to this server (DNS rebinding); to the browser, the server's
responses are then the site's own. The page cannot change what the browser sends as `Host`: a name of its site. Names
that no site can have are safe.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Iterable

ANY = "*"
_LONGEST = 255 + 6  # of a name and a port
_REMEMBERED = 64  # hosts: nearly all requests name the same
_HOST = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[^\[\]:/?#@\s]+))(?::[0-9]{0,5})?")
# Nobody can register a site below these; the last are Kubernetes' and Docker's.
_PRIVATE_SUFFIXES = (".localhost", ".local", ".internal", ".lan", ".home.arpa", ".svc", ".cluster.local")


class AllowedHosts:
    """Decides on the value of a `Host` header.

    Args:
        names: allowed beside loopback names; `*` for any. Without any, what no web site can be called: addresses, names
            without a dot, and beyond a loopback address also names of private networks.
        listens_on: address or name that the server listens on.
    """

    def __init__(self, names: Iterable[str], *, listens_on: str) -> None:
        self._names = frozenset(name.lower().rstrip(".") for name in names)
        self._own = listens_on.lower()
        self._on_loopback = _is_loopback(self._own)
        self._remembered = functools.lru_cache(_REMEMBERED)(self._allows)

    def __contains__(self, host: str) -> bool:
        return ANY in self._names or (len(host) <= _LONGEST and self._remembered(host))

    def _allows(self, host: str) -> bool:
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        name = (match["v6"] or match["name"]).lower().rstrip(".")
        if name in self._names or name == self._own or _is_loopback(name):
            return True
        if self._names:
            return False
        if _is_address(name) or "." not in name:
            return True
        return not self._on_loopback and name.endswith(_PRIVATE_SUFFIXES)


def _is_loopback(name: str) -> bool:
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
