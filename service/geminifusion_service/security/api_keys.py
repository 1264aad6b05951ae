"""Access control: API keys with roles and rate limits.

The key file is TOML, one table for each key. It holds SHA-256 digests, so reading it gives nobody access:

    [camera-7]
    sha256 = "…"            # printf %s "$KEY" | sha256sum
    roles = ["segment"]     # segment (the default), admin
    rate = 10.0             # requests per second on average; unlimited without it
    burst = 20              # requests at once; twice the rate without it
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import math
import threading
import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from geminifusion_service.errors import ForbiddenError, RateLimitedError, UnauthenticatedError

_log = logging.getLogger(__name__)

Role = Literal["segment", "admin"]
_LONGEST_KEY = 512
_CHECK_FILE_S = 1.0  # between two checks of whether the file has changed


class AccessFileError(ValueError):
    """The key file cannot be used; the message says why and what to do."""


class KeyEntry(BaseModel):
    """One key of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    roles: tuple[Role, ...] = ("segment",)
    rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    burst: Annotated[int, Field(ge=1)] | None = None


@dataclass(frozen=True, kw_only=True)
class Principal:
    """The caller: name of its key, for logs and metrics, and its roles."""

    name: str
    roles: frozenset[Role]


ANONYMOUS = Principal(name="anonymous", roles=frozenset({"segment"}))


class TokenBucket:
    """Rate limit: `rate` requests per second on average, `burst` at once."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._tokens, self._filled = burst, clock()

    def take(self) -> float:
        """Take a token. Returns 0, or the seconds until there will be one."""
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._filled) * self._rate)
        self._filled = now
        if self._tokens >= 1:
            self._tokens -= 1
            return 0.0
        return (1 - self._tokens) / self._rate


class AccessControl:
    """Checks the key of a request on its headers. Without a file everybody may segment, and nobody is an admin.

    Args:
        path: the key file. A changed file is read again within a second; if it cannot be used, that is logged and the
            previous keys stay in force.
        clock: seconds, monotonic.

    Raises:
        AccessFileError: the file is missing or invalid.
    """

    def __init__(self, path: Path | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()  # gRPC and HTTP share a loop, replicas on Ray do not
        self._entries: dict[str, KeyEntry] = {}
        self._buckets: dict[str, TokenBucket] = {}
        self._stamp: tuple[int, int] | None = None
        self._checked = -math.inf
        if path is not None:
            self._stamp = _stamp(path)
            self._apply(read_keys(path))
            self._checked = clock()

    @property
    def asks_for_keys(self) -> bool:
        """Whether requests need a key."""
        return self._path is not None

    def check(self, headers: Mapping[str, str], *, role: Role = "segment") -> Principal:
        """Authenticate and authorize a request by its headers.

        Args:
            headers: of HTTP or gRPC metadata, names in lower case: `authorization: Bearer KEY` or `x-api-key: KEY`.
            role: the role that the request needs.

        Raises:
            UnauthenticatedError: no key, or an unknown one.
            ForbiddenError: the key lacks the role.
            RateLimitedError: more requests than the rate of the key allows.
        """
        if self._path is None:
            return ANONYMOUS
        with self._lock:
            self._reload_if_changed()
            name = self._name_of(_key_in(headers))
            entry = self._entries[name]
            if role not in entry.roles:
                raise ForbiddenError(f"the key {name!r} has no role {role!r}; ask the operator for one that has it")
            wait_s = self._buckets[name].take() if name in self._buckets else 0.0
        if wait_s:
            retry_after_s = max(1, math.ceil(wait_s))
            raise RateLimitedError(
                f"the key {name!r} may ask {entry.rate:g} times a second; try again in {retry_after_s} s",
                retry_after_s=retry_after_s,
            )
        return Principal(name=name, roles=frozenset(entry.roles))

    def _name_of(self, key: str) -> str:
        digest = hashlib.sha256(_as_sent(key)).hexdigest()
        found = None
        # All of them, in constant time: the time taken must not reveal how much of a guess was right.
        for name, entry in self._entries.items():
            if hmac.compare_digest(digest, entry.sha256):
                found = name
        if found is None:
            raise UnauthenticatedError("the API key is not known here; ask the operator for one")
        return found

    def _reload_if_changed(self) -> None:
        assert self._path is not None
        if self._clock() - self._checked < _CHECK_FILE_S:
            return
        self._checked = self._clock()
        try:
            stamp = _stamp(self._path)
            if stamp != self._stamp:
                self._stamp = stamp
                self._apply(read_keys(self._path))
                _log.info("read %d API keys again", len(self._entries))
        except AccessFileError as error:
            _log.error("the API keys stay as they were: %s", error)

    def _apply(self, entries: dict[str, KeyEntry]) -> None:
        kept = {name for name, entry in entries.items() if self._entries.get(name) == entry}
        self._buckets = {
            name: self._buckets[name]
            if name in kept and name in self._buckets
            else TokenBucket(entry.rate, entry.burst or max(1.0, 2 * entry.rate), self._clock)
            for name, entry in entries.items()
            if entry.rate is not None
        }
        self._entries = entries


def read_keys(path: Path) -> dict[str, KeyEntry]:
    """Read the keys of a file, by name.

    Raises:
        AccessFileError: it cannot be read, holds no key, or an entry is invalid.
    """
    try:
        entries = TypeAdapter(dict[str, KeyEntry]).validate_python(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise AccessFileError(f"the API keys in {path} cannot be read ({error.strerror}); check the path") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise AccessFileError(f"{path} is not TOML ({error}); see docs/guides/security.md") from None
    except ValidationError as error:
        # Without the input: a key pasted in place of its digest must not reach a log.
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False))
        raise AccessFileError(f"{path} does not fit ({problems}); see docs/guides/security.md") from None
    if not entries:
        raise AccessFileError(f"{path} holds no key, so nobody could ask for anything; add one")
    digests = [entry.sha256 for entry in entries.values()]
    if len(set(digests)) != len(digests):
        raise AccessFileError(f"{path} holds the same key under two names; give each its own")
    return entries


def _key_in(headers: Mapping[str, str]) -> str:
    kind, _, bearer = headers.get("authorization", "").partition(" ")
    key = bearer.strip() if kind.lower() == "bearer" else headers.get("x-api-key", "")
    if not key:
        raise UnauthenticatedError("no API key came; send it as Authorization: Bearer KEY or as X-Api-Key")
    return key[:_LONGEST_KEY]


def _as_sent(key: str) -> bytes:
    """The bytes that the client sent: headers of HTTP are decoded as Latin-1, whatever they were encoded in."""
    try:
        return key.encode("latin-1")
    except UnicodeEncodeError:
        return key.encode("utf-8", "surrogateescape")


def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError as error:
        raise AccessFileError(f"the API keys in {path} cannot be read ({error.strerror}); check the path") from None
    return found.st_mtime_ns, found.st_ino
