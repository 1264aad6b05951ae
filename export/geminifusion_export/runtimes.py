"""Everything an exported network can run on, behind one call, so that verification and benchmarks ask each the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from geminifusion_runtime.artifact import Precision

OUTPUT_NAMES = ("labels", "confidence", "gate")


class Answers(NamedTuple):
    """One batch. Axes: B batch, H W the posted size, h w a quarter of it rounded up."""

    labels: NDArray[np.uint8]  # B H W
    confidence: NDArray[np.float32]  # B h w, 0…1
    gate: NDArray[np.float32]  # B h w, 0…1


class Runtime(Protocol):
    """An exported network, loaded and ready."""

    @property
    def name(self) -> str:
        """The backend as reports name it, e.g. `onnxruntime-cpu` or `openvino-cpu`."""

    @property
    def precision(self) -> Precision:
        """What it computes in."""

    def run(self, feeds: Mapping[str, NDArray[np.generic]]) -> Answers:
        """Run one batch; `feeds` holds raw modalities by graph input name, as the metadata describes them."""


class OnnxRuntime:
    """ONNX Runtime on the CPU; 0 threads leaves the choice to the runtime.

    Args:
        custom_ops: our library of kernels (`geminifusion export plugin --runtime onnxruntime`); without it nodes run
            from the function in the file.
    """

    def __init__(
        self, model: Path, *, threads: int = 0, custom_ops: Path | None = None, precision: Precision = "float32"
    ) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        # runtimes take turns in verification and benchmarks: idle threads of one must not spin on the cores of the next
        options.add_session_config_entry("session.force_spinning_stop", "1")
        if custom_ops is not None:
            options.register_custom_ops_library(str(custom_ops))
        self.name = "onnxruntime-cpu" if custom_ops is None else "onnxruntime-cpu+ops"
        self.precision: Precision = precision
        self._session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])

    def run(self, feeds: Mapping[str, NDArray[np.generic]]) -> Answers:
        """Run one batch; see `Runtime`."""
        labels, confidence, gate = self._session.run(OUTPUT_NAMES, dict(feeds))
        return Answers(labels, confidence.astype(np.float32, copy=False), gate.astype(np.float32, copy=False))
