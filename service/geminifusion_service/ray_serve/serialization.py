"""What crosses between the front and a replica.

An error travels as a value: Ray would wrap a raised one into its own, with the replica's traceback in the text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from geminifusion_runtime.errors import HTTP_STATUS, ServiceError

_CLASSES: Final = {kind.code: kind for kind in HTTP_STATUS if kind is not ServiceError}


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A `ServiceError` on its way."""

    code: str
    message: str
    retry_after_s: int | None

    @classmethod
    def of(cls, error: ServiceError) -> Refusal:
        """What the front needs to raise it again."""
        return cls(code=error.code, message=str(error), retry_after_s=error.retry_after_s)

    def error(self) -> ServiceError:
        """The error as the replica raised it.

        Raises:
            ValueError: no error has this code, so front and replica are of different releases.
        """
        if self.code not in _CLASSES:
            raise ValueError(f"a replica answered with the unknown code {self.code!r}; run one release everywhere")
        error = _CLASSES[self.code](self.message)
        error.retry_after_s = self.retry_after_s
        return error


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What a replica knows of its model and the front does not: the runtime that was chosen there, and why."""

    backend: str
    reason: str
