"""The contract between this package and an inference runtime: what a backend takes, returns and raises.

Axes: B batch, H W the size of the graph's inputs, h w a quarter of it, rounded up.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

# By graph input name: `B H W 3` or `B H W`, dtypes and units as the artifact's metadata describes them.
GraphInputs = Mapping[str, NDArray[np.generic]]
BatchShape = tuple[int, int, int]  # B, H, W


class BackendError(RuntimeError):
    """A runtime is missing, or cannot load or run what it was given; the message says what to do."""


@dataclass(frozen=True, kw_only=True)
class GraphOutputs:
    """The graph's outputs for one batch."""

    labels: NDArray[np.uint8]  # B H W
    confidence: NDArray[np.float32]  # B h w, 0…1
    gate: NDArray[np.float32]  # B h w, 0…1
    modality_weights: NDArray[np.float32] | None = None  # B N-1 h w, 0…1; of graphs with N > 2 modalities


OUTPUT_NAMES = ("labels", "confidence", "gate")
ALL_OUTPUT_NAMES: tuple[str, ...] = tuple(field.name for field in dataclasses.fields(GraphOutputs))


def output_names(num_modalities: int) -> tuple[str, ...]:
    """The outputs of a graph with that many inputs."""
    return ALL_OUTPUT_NAMES if num_modalities > 2 else OUTPUT_NAMES


def batch_shape(inputs: GraphInputs) -> BatchShape:
    """Batch, height and width of a graph's inputs, which are those of any of them."""
    batch, height, width = next(iter(inputs.values())).shape[:3]
    return batch, height, width


class Backend(Protocol):
    """A loaded graph, ready to run.

    `run` is called from one thread at a time and may take long; it must release the GIL.
    """

    @property
    def name(self) -> str:
        """The runtime's name in metrics, model list and reports.

        A backend that computes in another precision than the artifact's graph appends it: `openvino-cpu-int8`.
        """

    def size_problem(self, height: int, width: int) -> str | None:
        """Why frames of this size cannot be run, for the client; None if they can."""

    def run(self, inputs: GraphInputs) -> GraphOutputs:
        """Run one batch of inputs of one size. The outputs belong to the caller."""


class DetachedBackend:
    """Backend of a model whose runtime is not in this process: it was closed, or it is in another one.

    Args:
        name: of the runtime.
        why: message of what `run` raises.
    """

    def __init__(self, name: str, why: str) -> None:
        self.name = name
        self._why = why

    def size_problem(self, height: int, width: int) -> str | None:
        """None: whoever has the runtime says it."""
        return None

    def run(self, inputs: GraphInputs) -> GraphOutputs:
        """Raises RuntimeError."""
        raise RuntimeError(self._why)


@runtime_checkable
class ClosableBackend(Protocol):
    """A backend that holds more than Python frees with the last reference: a device's memory, a process."""

    def close(self) -> None:
        """Release it; `run` is not called again."""


@runtime_checkable
class SupervisedBackend(Protocol):
    """A backend that may fail as a whole and recover, because it runs in a process of its own."""

    @property
    def problem(self) -> str | None:
        """Why no run can be expected to succeed at the moment, for the operator; None while there is no reason."""


def graph_outputs(
    labels: NDArray[np.uint8],
    confidence: NDArray[np.floating],
    gate: NDArray[np.floating],
    modality_weights: NDArray[np.floating] | None = None,
) -> GraphOutputs:
    """Outputs as a runtime returned them; half-precision maps are widened to float32."""
    return GraphOutputs(
        labels=labels,
        confidence=confidence.astype(np.float32, copy=False),
        gate=gate.astype(np.float32, copy=False),
        modality_weights=None if modality_weights is None else modality_weights.astype(np.float32, copy=False),
    )


def require_outputs(path: Path, names: Iterable[str]) -> tuple[str, ...]:
    """The outputs of the contract that a file has, in the order of `GraphOutputs`.

    Raises:
        BackendError: naming those that are missing.
    """
    there = set(names)
    if missing := set(OUTPUT_NAMES) - there:
        raise BackendError(f"{path} has no output {sorted(missing)}; export the artifact again")
    return tuple(name for name in ALL_OUTPUT_NAMES if name in there)
