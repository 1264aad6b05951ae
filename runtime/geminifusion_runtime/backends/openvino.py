"""OpenVINO on the CPU."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from geminifusion_runtime.artifact import OutputTensor, Precision
from geminifusion_runtime.backends.protocol import (
    BackendError,
    BatchShape,
    GraphInputs,
    GraphOutputs,
    batch_shape,
    served_outputs,
)

T = TypeVar("T")

# OpenVINO would pick bfloat16 by itself where the processor has it. An int8 network says itself which operators are
# int8; the others are float32.
_PRECISION_HINTS: dict[Precision, str] = {"float32": "f32", "bfloat16": "bf16", "float16": "f16", "int8": "f32"}
# OpenVINO's names for what a processor computes in; without the capability it would silently compute in float32.
_CAPABILITIES: dict[Precision, str] = {"bfloat16": "BF16", "float16": "FP16", "int8": "INT8"}
REPEATS = 3  # a shape that comes this often is compiled for


class OpenVinoNetwork:
    """A network's file, and how it is compiled for this processor.

    Args:
        path: an OpenVINO file, its `.bin` beside it.
        precision: what to compute in; `int8` is for the int8 network.
        threads: of each compiled network.
        profiled: measure every layer (`InferRequest.profiling_info`); costs a little of every run.

    Raises:
        BackendError: OpenVINO is not installed, or the processor does not compute in `precision`.
    """

    def __init__(self, path: Path, *, precision: Precision = "float32", threads: int, profiled: bool = False) -> None:
        try:
            import openvino
        except ImportError:
            raise BackendError('OpenVINO is not installed; run: pip install "geminifusion[openvino]"') from None
        self.path = path
        self._version: str = openvino.__version__
        self._core = openvino.Core()
        found = run_in_fresh_thread(lambda: self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
        needed = _CAPABILITIES.get(precision)
        if needed is not None and needed not in found:
            raise BackendError(
                f"this processor does not compute in {precision} ({', '.join(found)}); serve the float32 network"
            )
        self._properties = {
            "INFERENCE_PRECISION_HINT": _PRECISION_HINTS[precision],
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
            "PERF_COUNT": profiled,
        }

    def compile(self, shape: BatchShape | None = None, *, outputs: Sequence[str] | None = None) -> Any:  # noqa: ANN401 - openvino.InferRequest
        """Compile the network, for any shape or for one.

        Args:
            outputs: values to give besides the network's outputs; a name it does not know is left out.

        Raises:
            BackendError: OpenVINO cannot load or compile the file.
        """
        try:
            network = self._core.read_model(self.path)
            if shape is not None:
                network.reshape(
                    {
                        port.get_any_name(): [
                            *shape,
                            *(axis.get_length() for axis in list(port.get_partial_shape())[3:]),
                        ]
                        for port in network.inputs
                    }
                )
            if outputs is not None:
                known = {name for node in network.get_ops() for port in node.outputs() for name in port.get_names()}
                network.add_outputs([name for name in outputs if name in known])
            return run_in_fresh_thread(
                lambda: self._core.compile_model(network, "CPU", self._properties).create_infer_request()
            )
        except RuntimeError as error:
            raise BackendError(f"OpenVINO {self._version} cannot load {self.path} ({error})") from None


class OpenVinoBackend:
    """One network on `threads` cores, and copies of it compiled for the shapes that come most.

    A network compiled for one shape is half as fast again as the one that takes any, and takes a second or two to
    compile. So a shape gets its own copy when it has come `repeats` times. Memory: at most `max_fixed_shapes` copies,
    the least recently used is dropped first; and the network that takes any shape is compiled afresh after
    `max_known_shapes` of them, because OpenVINO keeps something of each.

    Args:
        path, precision, threads: see `OpenVinoNetwork`.
        prepared: shapes that get their copies at once, so that no request waits for them.
        outputs: of the artifact; None for all that the file has.

    Raises:
        BackendError: OpenVINO is missing or cannot load the file, the processor does not compute in `precision`, or the
            network lacks an output of the artifact.
    """

    def __init__(
        self,
        path: Path,
        *,
        precision: Precision = "float32",
        threads: int,
        prepared: Sequence[BatchShape] = (),
        outputs: Sequence[OutputTensor] | None = None,
        repeats: int = REPEATS,
        max_fixed_shapes: int = 4,
        max_known_shapes: int = 64,
    ) -> None:
        self.name = "openvino-cpu" if precision == "float32" else f"openvino-cpu-{precision}"
        self._network = OpenVinoNetwork(path, precision=precision, threads=threads)
        self._repeats, self._max_fixed_shapes, self._max_known_shapes = repeats, max_fixed_shapes, max_known_shapes
        self._fixed: OrderedDict[BatchShape, Any] = OrderedDict()
        self._times_seen: dict[BatchShape, int] = {}
        self._any_shape = self._network.compile()
        self._outputs = served_outputs(
            path, (name for port in self._any_shape.model_outputs for name in port.get_names()), outputs
        )
        for shape in prepared[:max_fixed_shapes]:
            self._fix(shape)

    @property
    def fixed_shapes(self) -> tuple[BatchShape, ...]:
        """Shapes with a copy of their own, the least recently used first."""
        return tuple(self._fixed)

    @property
    def num_known_shapes(self) -> int:
        """Number of shapes that the network that takes any has seen since it was compiled."""
        return len(self._times_seen)

    def size_problem(self, height: int, width: int) -> str | None:
        """None: the graph takes every size the metadata allows."""
        return None

    def run(self, inputs: GraphInputs) -> GraphOutputs:
        """Run one batch; see `Backend`."""
        found = self._request_for(batch_shape(inputs)).infer(dict(inputs), share_inputs=True)
        # The request's own memory is overwritten by the next run.
        return {name: np.array(found[name]) for name in self._outputs}

    def _request_for(self, shape: BatchShape) -> Any:  # noqa: ANN401 - openvino.InferRequest
        if shape in self._fixed:
            self._fixed.move_to_end(shape)
            return self._fixed[shape]
        times = self._times_seen.get(shape, 0) + 1
        if times >= self._repeats and self._max_fixed_shapes:
            if shape in self._times_seen:
                self._times_seen[shape] = 0  # once dropped, it has to come as often again
            return self._fix(shape)
        if shape not in self._times_seen and len(self._times_seen) >= self._max_known_shapes:
            self._times_seen.clear()
            self._any_shape = self._network.compile()
        self._times_seen[shape] = times
        return self._any_shape

    def _fix(self, shape: BatchShape) -> Any:  # noqa: ANN401 - openvino.InferRequest
        while len(self._fixed) >= self._max_fixed_shapes:
            self._fixed.popitem(last=False)
        self._fixed[shape] = self._network.compile(shape)
        return self._fixed[shape]


def run_in_fresh_thread(call: Callable[[], T]) -> T:
    """Call OpenVINO in a thread of its own, to which no signal is ever delivered.

    OpenVINO gives the calling thread a signal stack when it loads its CPU plugin or compiles, and unmaps that stack
    when the network is freed, in whichever thread that happens; the next signal to the first thread, such as Ctrl-C,
    would crash the process. A thread that ends takes its signal stack with it.
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(call).result()
