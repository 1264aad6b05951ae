"""Label Studio's two kinds of tokens as headers of a request.

A legacy token is sent as it is. A personal access token is a JWT that is only good for asking for another, which is
sent and lasts minutes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from urllib.parse import urljoin

import httpx

from ..errors import InvalidInputError

_JWT_START = "eyJ"  # base64 of `{"`
_REFRESH = "api/token/refresh/"
_TRUSTED_S = 120.0  # Label Studio's last five minutes


class AccessToken:
    """The token of a user of one Label Studio. Safe to share between threads."""

    def __init__(self, token: str, base_url: str) -> None:
        """Nothing is sent yet; `base_url` ends with a slash."""
        if not (token.isascii() and token.isprintable()):
            raise InvalidInputError(
                "the token of Label Studio has characters that no header carries; give it as issued"
            )
        self._token, self._base_url = token, base_url
        self._lock = threading.Lock()
        self._access, self._until = "", 0.0

    def headers(self, http: httpx.Client) -> Mapping[str, str]:
        """The header to send.

        Args:
            http: what asks for a token, if one is needed.

        Raises:
            InvalidInputError: Label Studio does not take the personal access token.
            httpx.TransportError: it cannot be asked.
        """
        if not self._token.startswith(_JWT_START):
            return {"Authorization": f"Token {self._token}"}
        with self._lock:
            if time.monotonic() > self._until:
                self._access = self._fresh(http)
                self._until = time.monotonic() + _TRUSTED_S
            return {"Authorization": f"Bearer {self._access}"}

    def _fresh(self, http: httpx.Client) -> str:
        response = http.post(urljoin(self._base_url, _REFRESH), json={"refresh": self._token})
        try:
            return str(response.raise_for_status().json()["access"])
        except (httpx.HTTPStatusError, ValueError, KeyError, TypeError):
            raise InvalidInputError(
                f"Label Studio at {self._base_url} responded {response.status_code} to the personal access token; "
                "issue a new one in its account settings"
            ) from None
