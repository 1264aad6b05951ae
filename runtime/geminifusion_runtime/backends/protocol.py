"""The contract between this package and an inference runtime: what a backend takes, returns and raises.

Which outputs a graph has is the task's: its class of metadata names them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.artifact import OutputTensor

# By graph input name: `B H W 3` or `B H W`, dtypes and units as the artifact's metadata describes them.
GraphInputs = Mapping[str, NDArray[np.generic]]
# By graph output name, each with a leading batch axis; floating ones are float32.
GraphOutputs = Mapping[str, NDArray[np.generic]]
BatchShape = tuple[int, int, int]  # B, H, W


class BackendError(RuntimeError):
    """A runtime is missing, or cannot load or run what it was given; the message says what to do."""


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


def graph_outputs(names: Iterable[str], arrays: Iterable[NDArray[np.generic]]) -> GraphOutputs:
    """Outputs as a runtime returned them; half-precision ones are widened to float32."""
    return {
        name: array.astype(np.float32, copy=False) if np.issubdtype(array.dtype, np.floating) else array
        for name, array in zip(names, arrays, strict=True)
    }


def served_outputs(path: Path, names: Iterable[str], wanted: Sequence[OutputTensor] | None) -> tuple[str, ...]:
    """The outputs that a file has of those that its artifact names, in its order; all of them without an artifact.

    Raises:
        BackendError: naming those that are missing.
    """
    there = tuple(dict.fromkeys(names))
    if wanted is None:
        return there
    if missing := sorted(each.name for each in wanted if each.name not in there and not each.optional):
        raise BackendError(f"{path} has no output {missing}; export the artifact again")
    return tuple(each.name for each in wanted if each.name in there)
