"""OpenVINO on the CPU."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.backends.protocol import GraphOutputs

T = TypeVar("T")

_OUTPUTS = ("labels", "confidence", "gate")
# OpenVINO would compute in bfloat16 by itself where the processor has it; an int8 network is float32 in between.
_HINTS = {"float32": "f32", "bfloat16": "bf16", "float16": "f16", "int8": "f32"}
_ABILITIES = {"bfloat16": "BF16", "float16": "FP16", "int8": "INT8"}

Sizes = tuple[int, int, int]  # batch, height, width


class OpenVinoBackend:
    """One network on `threads` cores, and copies of it for the sizes that are asked for most.

    A network fixed to one size is half as fast again as the one that takes any, and takes a second or two to compile.
    So a size gets its own copy when it has come `repeats` times. Memory: at most `max_fixed_sizes` copies, the least
    recently used goes first; and the network that takes any size starts afresh after `max_known_sizes` of them, because
    OpenVINO keeps something of each.

    Args:
        path: `openvino.xml` or `openvino-int8.xml`, its `.bin` beside it.
        precision: what to compute in; `int8` is for the int8 network.
        prepared: batch, height and width of sizes that get their copies at once, so that no request waits for them.

    Raises:
        RuntimeError: OpenVINO is missing or cannot load the file, the processor does not compute in `precision`, or the
            network lacks an output of the contract.
    """

    def __init__(
        self,
        path: Path,
        *,
        precision: Literal["float32", "bfloat16", "float16", "int8"] = "float32",
        threads: int,
        prepared: Sequence[Sizes] = (),
        repeats: int = 3,
        max_fixed_sizes: int = 4,
        max_known_sizes: int = 64,
    ) -> None:
        try:
            import openvino
        except ImportError:
            raise RuntimeError('OpenVINO is not installed; run: pip install "geminifusion[openvino]"') from None
        self.name = "openvino-cpu" if precision == "float32" else f"openvino-cpu-{precision}"
        self._core = openvino.Core()
        abilities = in_own_thread(lambda: self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
        needed = _ABILITIES.get(precision)
        if needed is not None and needed not in abilities:
            raise RuntimeError(
                f"this processor does not compute in {precision} ({', '.join(abilities)}); serve the float32 network"
            )
        self._path = path
        self._properties = {
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
        }
        self._repeats, self._max_fixed_sizes, self._max_known_sizes = repeats, max_fixed_sizes, max_known_sizes
        self._fixed: OrderedDict[Sizes, Any] = OrderedDict()
        self._times_seen: dict[Sizes, int] = {}
        self._any_size = self._compile(None)
        found = {name for port in self._any_size.model_outputs for name in port.get_names()}
        if missing := set(_OUTPUTS) - found:
            raise RuntimeError(f"{path} has no output {sorted(missing)}; export the artifact again")
        for sizes in prepared[:max_fixed_sizes]:
            self._fix(sizes)

    @property
    def fixed_sizes(self) -> tuple[Sizes, ...]:
        """Those with a copy of their own, the least recently used first."""
        return tuple(self._fixed)

    @property
    def known_sizes(self) -> int:
        """How many the network that takes any has seen since it started afresh."""
        return len(self._times_seen)

    def size_problem(self, height: int, width: int) -> str | None:
        """None: the graph takes every size the metadata allows."""
        return None

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> GraphOutputs:
        """Run one batch; see `Backend`."""
        batch, height, width = inputs["rgb"].shape[:3]
        found = self._request_for((batch, height, width)).infer(dict(inputs), share_inputs=True)
        # the request's own memory is written again by the next run
        labels, confidence, gate = (np.array(found[name]) for name in _OUTPUTS)
        return GraphOutputs(labels=labels, confidence=confidence, gate=gate)

    def _request_for(self, sizes: Sizes) -> Any:  # noqa: ANN401 - openvino.InferRequest
        if sizes in self._fixed:
            self._fixed.move_to_end(sizes)
            return self._fixed[sizes]
        times = self._times_seen.get(sizes, 0) + 1
        if times >= self._repeats and self._max_fixed_sizes:
            if sizes in self._times_seen:
                self._times_seen[sizes] = 0  # once dropped, it has to come back as often again
            return self._fix(sizes)
        if sizes not in self._times_seen and len(self._times_seen) >= self._max_known_sizes:
            self._times_seen.clear()
            self._any_size = self._compile(None)
        self._times_seen[sizes] = times
        return self._any_size

    def _fix(self, sizes: Sizes) -> Any:  # noqa: ANN401 - openvino.InferRequest
        while len(self._fixed) >= self._max_fixed_sizes:
            self._fixed.popitem(last=False)
        self._fixed[sizes] = self._compile(sizes)
        return self._fixed[sizes]

    def _compile(self, sizes: Sizes | None) -> Any:  # noqa: ANN401 - openvino.InferRequest
        network = self._core.read_model(self._path)
        if sizes is not None:
            network.reshape(
                {
                    port.get_any_name(): [*sizes, *(axis.get_length() for axis in list(port.get_partial_shape())[3:])]
                    for port in network.inputs
                }
            )
        return in_own_thread(lambda: self._core.compile_model(network, "CPU", self._properties).create_infer_request())


def in_own_thread(call: Callable[[], T]) -> T:
    """Ask OpenVINO where no signal is ever delivered.

    It gives the calling thread a signal stack, when it loads its CPU part or compiles, and unmaps it when the network
    goes, in whichever thread that happens; the next signal of the first one, a Ctrl-C, would crash the process. A
    thread that ends takes its signal stack with it.
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(call).result()
