"""When each stage of a request began and ended: the one record that answers, metrics, logs and traces are made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

# In the order in which a request passes them. Waiting for a free decoder or encoder counts as that stage.
Stage = Literal["receive", "decode", "queue", "compute", "encode"]
STAGES: tuple[Stage, ...] = get_args(Stage)


@dataclass(frozen=True, kw_only=True)
class Span:
    """One stage of one request, in nanoseconds of `time.monotonic_ns`."""

    stage: Stage
    start_ns: int
    end_ns: int

    @property
    def seconds(self) -> float:
        """How long it took."""
        return (self.end_ns - self.start_ns) / 1e9


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """The stages a request passed, in order; `receive` only where the transport said when the head came.

    `batch_size` counts the requests that shared its run of the engine.
    """

    spans: tuple[Span, ...] = ()
    batch_size: int = 0

    def seconds(self, stage: Stage) -> float:
        """Of one stage; 0 for one that the request did not pass."""
        return sum(span.seconds for span in self.spans if span.stage == stage)

    def milliseconds(self, stage: Stage) -> float:
        """Of one stage; 0 for one that the request did not pass."""
        return 1000 * self.seconds(stage)


def nanoseconds(seconds: float) -> int:
    """A reading of `time.monotonic` on the scale of `time.monotonic_ns`."""
    return round(seconds * 1e9)
