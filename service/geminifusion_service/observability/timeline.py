"""Start and end of each stage of a request: the one record behind responses, metrics, logs and traces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

# In the order in which a request passes them. Waiting for a free decoder or encoder counts as that stage; few pass
# `synthesize`, in which a translator makes the modality that is missing.
Stage = Literal["receive", "decode", "synthesize", "queue", "compute", "encode"]
STAGES: tuple[Stage, ...] = get_args(Stage)


class StageTiming(NamedTuple):
    """One stage of one request, in nanoseconds of `time.monotonic_ns`. A tuple: each request makes up to six."""

    stage: Stage
    start_ns: int
    end_ns: int

    @classmethod
    def between(cls, stage: Stage, start: float, end: float) -> StageTiming:
        """A stage that lasted from `start` to `end`, both in seconds of `time.monotonic`."""
        return cls(stage, nanoseconds(start), nanoseconds(end))

    @property
    def seconds(self) -> float:
        """Duration."""
        return (self.end_ns - self.start_ns) / 1e9


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """The stages a request passed, in order; `receive` only where the transport said when the headers came,
    `synthesize` only where a modality was made.

    `batch_size` counts the requests that shared its run of the engine.
    """

    stages: tuple[StageTiming, ...] = ()
    batch_size: int = 0

    def seconds(self, stage: Stage) -> float:
        """Duration of one stage; 0 for one that the request did not pass."""
        return sum(timing.seconds for timing in self.stages if timing.stage == stage)

    def milliseconds(self, stage: Stage) -> float:
        """Duration of one stage; 0 for one that the request did not pass."""
        return 1000 * self.seconds(stage)


def nanoseconds(seconds: float) -> int:
    """A reading of `time.monotonic` on the scale of `time.monotonic_ns`."""
    return round(seconds * 1e9)
