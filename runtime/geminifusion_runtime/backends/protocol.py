"""What the service asks of a runtime."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class GraphOutputs:
    """One batch of answers. Axes: B batch, H W the size the graph saw, h w a quarter of it rounded up."""

    labels: NDArray[np.uint8]  # B H W
    confidence: NDArray[np.float32]  # B h w, 0…1
    gate: NDArray[np.float32]  # B h w, 0…1


class Backend(Protocol):
    """A loaded graph.

    `run` is called from one thread at a time and may take long; it must release the GIL.
    """

    @property
    def name(self) -> str:
        """The runtime, as metrics and the model list show it."""

    def size_problem(self, height: int, width: int) -> str | None:
        """Why frames of this size cannot be run, for the client; None if they can."""

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> GraphOutputs:
        """Run one batch of same-sized inputs, by graph input name, each with a leading batch axis."""


@runtime_checkable
class ClosableBackend(Protocol):
    """A backend that holds more than Python frees with the last reference: a device's memory, a process."""

    def close(self) -> None:
        """Give it back; `run` is not called again."""


@runtime_checkable
class SupervisedBackend(Protocol):
    """A backend that may fail as a whole and recover, because it runs in a process of its own."""

    @property
    def problem(self) -> str | None:
        """Why no run can be expected to succeed now, for the operator; None while there is no such reason."""
