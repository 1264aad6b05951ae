"""Proxies and certificates that the environment names: where they are used, and whether they can be."""

from __future__ import annotations

import os
import re
import urllib.request
from ipaddress import ip_address
from urllib.parse import urlsplit

_PROXIES = ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
# By the scheme of an address the variables that its library reads, first come first served: `http` is http_proxy.
_READ = {"http": ("http", "all"), "https": ("https", "all")} | dict.fromkeys(
    ("grpc", "grpcs"), ("grpc", "https", "http")
)
_SECRET = re.compile(r"(?<=//)[^@/]*@")


def may_use_proxy(url: str) -> bool:
    """Whether a proxy named in the environment may be used: none can reach this machine's own loopback."""
    host = urlsplit(url).hostname or ""
    try:
        return not ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host != "localhost" and not host.endswith(".localhost")


def proxy_of(url: str) -> str | None:
    """The proxy that the environment names for an address, without its password; None where it is asked directly."""
    parts = urlsplit(url)
    if not may_use_proxy(url) or urllib.request.proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    proxies = urllib.request.getproxies()
    proxy = next((proxies[name] for name in _READ.get(parts.scheme, ()) if proxies.get(name)), None)
    return proxy and _SECRET.sub("", proxy)


def through_proxy(url: str) -> str:
    """For a message about a connection that failed: through which proxy it went; empty for none."""
    proxy = proxy_of(url)
    return f" through the proxy {proxy} of the environment" if proxy else ""


def unreachable_advice(url: str) -> str:
    """What to do about an address where nothing responds."""
    exempt = ", or name its host in NO_PROXY" if proxy_of(url) else ""
    return f"start it with `geminifusion serve`, or check the address{exempt}"


def environment_advice(error: Exception) -> str:
    """What to correct in the environment, which keeps a library from sending anything.

    Args:
        error: that it raised for the environment's sake.
    """
    if isinstance(error, OSError):  # proxies are read, but nothing of them is opened
        given = _variables(_CERTIFICATES)
        missing = {name: value for name, value in given.items() if not os.path.exists(value)}  # noqa: PTH110
        given = missing or given
    else:
        given = _variables(_PROXIES)
    names = " and ".join(f"{name}={_SECRET.sub('', value)}" for name, value in given.items()) or "the environment"
    if isinstance(error, ImportError):
        return f'{names} needs a package; unset the environment variable, or run: pip install "httpx[socks]"'
    reason = _SECRET.sub("", str(error))
    return f"{names} cannot be used ({reason}); correct or unset the environment variable"


def _variables(names: tuple[str, ...]) -> dict[str, str]:
    return {name: value for name, value in sorted(os.environ.items()) if name.upper() in names and value}
