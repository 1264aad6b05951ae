"""Errors and facts that a replica sends to the ingress, beside responses.

An error travels as a value: Ray would wrap a raised one into its own, with the replica's traceback in the text.
"""

from __future__ import annotations

from dataclasses import dataclass

from geminifusion_runtime.errors import GeminiFusionError
from geminifusion_service.errors import ERRORS


@dataclass(frozen=True, kw_only=True)
class SerializedError:
    """A `GeminiFusionError` as a value."""

    code: str
    message: str
    retry_after_s: int | None

    @classmethod
    def of(cls, error: GeminiFusionError) -> SerializedError:
        """Serialize an error."""
        return cls(code=error.code, message=str(error), retry_after_s=error.retry_after_s)

    def restore(self) -> GeminiFusionError:
        """The error as the replica raised it.

        Raises:
            ValueError: no error has this code, so ingress and replica are of different releases.
        """
        if self.code not in ERRORS:
            raise ValueError(f"a replica answered with the unknown code {self.code!r}; run one release everywhere")
        return ERRORS[self.code](self.message, retry_after_s=self.retry_after_s)


@dataclass(frozen=True, kw_only=True)
class BackendChoice:
    """The runtime that a replica chose for a model, and why: the ingress, which runs none, cannot know."""

    backend: str
    reason: str
