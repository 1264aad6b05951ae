"""How a client reaches a server: its address, its credentials, and when it tries again."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from .errors import InvalidInputError


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """An API key, and PEM files for TLS. Raises `InvalidInputError` where they make no sense.

    Attributes:
        api_key: sent as a bearer token.
        ca: authorities to trust instead of those this machine trusts.
        certificate, key: of the client, where the server asks for one; both or none.
    """

    api_key: str | None = field(default=None, repr=False)
    ca: str | Path | None = None
    certificate: str | Path | None = None
    key: str | Path | None = None

    def __post_init__(self) -> None:
        """Reject what no server could accept."""
        if (self.certificate is None) != (self.key is None):
            raise InvalidInputError("certificate and key belong together; give both or none")
        if self.api_key is not None and not (self.api_key.isascii() and self.api_key.isprintable() and self.api_key):
            raise InvalidInputError("api_key has characters that cannot be sent in a header; give the key as issued")


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """When to ask a busy server again: at most `retries` times, after at most `timeout_s` seconds each.

    Raises `InvalidInputError` for values that make no sense.
    """

    retries: int
    timeout_s: float

    def __post_init__(self) -> None:
        """Reject what cannot be waited for."""
        if not self.timeout_s > 0 or self.retries < 0:
            raise InvalidInputError(
                f"timeout is {self.timeout_s} and retries is {self.retries}; give seconds above 0 and a count"
            )

    def wait_s(self, attempt: int, advised_s: float | None) -> float | None:
        """Seconds to wait after attempt number `attempt` (from 0) was rejected; None to give up."""
        wait = 0.1 * 2**attempt if advised_s is None else advised_s
        return wait if attempt < self.retries and wait <= self.timeout_s else None


def is_grpc(url: str) -> bool:
    """Whether an address is one of gRPC, not of HTTP.

    Raises:
        InvalidInputError: it is neither.
    """
    scheme = urlsplit(url).scheme
    if scheme not in ("http", "https", "grpc", "grpcs") or not urlsplit(url).hostname:
        raise InvalidInputError(f"{url!r} is no usable address; give http://host:port or grpc://host:port")
    return scheme in ("grpc", "grpcs")
