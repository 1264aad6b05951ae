"""What a client shows to be let in, and whom it trusts."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from .errors import BadInput


@dataclass(frozen=True, kw_only=True)
class Access:
    """An API key, and PEM files for TLS. Raises `BadInput` where they make no sense.

    Attributes:
        api_key: sent as a bearer token.
        ca: whom to trust instead of the authorities this machine trusts.
        certificate, key: of the client, where the server asks for one; both or none.
    """

    api_key: str | None = field(default=None, repr=False)
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def __post_init__(self) -> None:
        """Refuse what no server could take."""
        if (self.certificate is None) != (self.key is None):
            raise BadInput("certificate and key belong together; give both or none")
        if self.api_key is not None and not (self.api_key.isascii() and self.api_key.isprintable() and self.api_key):
            raise BadInput("api_key has characters that cannot be sent in a header; give the key as it was issued")
