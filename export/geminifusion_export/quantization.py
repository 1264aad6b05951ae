"""An int8 network by post-training quantization (NNCF), kept only if it is still accurate.

The int8 products use ranges that were seen on calibration frames, so these must look like the frames the network will
be sent. They may come from the training split; the frames that decide whether the result is kept must not.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geminifusion_export.errors import ExportError, VerificationError
from geminifusion_export.graph import frame_inputs
from geminifusion_export.openvino_ir import import_openvino
from geminifusion_model.data.sample import Dataset
from geminifusion_model.evaluation.metrics import ConfusionMatrix
from geminifusion_runtime.artifact import RuntimeFile
from geminifusion_runtime.backends.openvino import OpenVinoBackend, run_in_fresh_thread
from geminifusion_runtime.backends.protocol import Backend, GraphInputs
from geminifusion_runtime.cpu_count import usable_cores

INT8_NAME = "openvino-int8"
ALLOWED_LOSS = 1.0
_PRODUCTS = frozenset({"Convolution", "GroupConvolution", "MatMul"})
# Sums, norms and resized maps gain nothing from int8 on a CPU: each would only be rounded once more.
_FLOAT_TYPES = ["Add", "Subtract", "Multiply", "Divide", "Interpolate", "MVN", "ReduceMean", "ReduceSum"]


@dataclass(frozen=True, kw_only=True)
class QuantizationOptions:
    """How many frames are used, and what loss is accepted.

    Args:
        calibration_frames: number of frames, spread evenly over the calibration split.
        held_out_frames: number of frames from the start of the held-out split; 0 for all.
        allowed_loss: of mIoU, in points.
    """

    calibration_frames: int = 64
    held_out_frames: int = 100
    allowed_loss: float = ALLOWED_LOSS

    def __post_init__(self) -> None:
        if self.calibration_frames < 1:
            raise ExportError(f"{self.calibration_frames} calibration frames; give at least 1, some 64 are usual")


@dataclass(frozen=True, kw_only=True)
class AccuracyLoss:
    """A network compared with another on labeled frames; mIoUs in percent, `label_agreement` 0…1 over all pixels."""

    frames: int
    reference_miou: float
    miou: float
    label_agreement: float

    @property
    def points(self) -> float:
        """Points of mIoU lost; negative if mIoU was gained."""
        return self.reference_miou - self.miou


def write_int8(
    network: Path,
    directory: Path,
    calibration: Dataset,
    held_out: Dataset,
    options: QuantizationOptions | None = None,
    *,
    threads: int = 0,
) -> tuple[RuntimeFile, AccuracyLoss]:
    """Quantize `openvino.xml`, measure the loss, and leave the result in `directory` only if it is acceptable.

    Args:
        calibration: frames for the ranges; the training split.
        held_out: labeled frames the network was not trained on.
        threads: 0 takes all cores this process may use.

    Raises:
        ExportError: NNCF or OpenVINO is not installed, or a data set lacks an input of the network.
        VerificationError: more than the allowed mIoU is lost; the files are removed.
    """
    options = options or QuantizationOptions()
    count = min(options.calibration_frames, len(calibration))
    chosen = np.linspace(0, len(calibration) - 1, count).round().astype(int)
    frames = (frame_inputs(calibration[int(index)], calibration.task) for index in chosen)
    entry = quantize(network, directory, frames, count)
    path = directory / entry.file
    loss = measure_loss(
        OpenVinoBackend(network, threads=threads or usable_cores()),
        OpenVinoBackend(path, precision="int8", threads=threads or usable_cores()),
        held_out,
        limit=options.held_out_frames,
    )
    if not loss.points <= options.allowed_loss:
        path.unlink()
        path.with_suffix(".bin").unlink()
        raise VerificationError(
            f"int8 loses {loss.points:.2f} points of mIoU on {loss.frames} held-out frames ({loss.reference_miou:.2f} "
            f"to {loss.miou:.2f}), more than {options.allowed_loss}; calibrate with more or more typical frames than "
            f"{count}, or serve the float32 network"
        )
    return entry, loss


def quantize(
    network: Path, directory: Path, frames: Iterable[GraphInputs], count: int, *, name: str = INT8_NAME
) -> RuntimeFile:
    """Write `<name>.xml` and `<name>.bin`: products in int8 with the ranges seen on `count` frames, batches of one.

    Raises:
        ExportError: NNCF or OpenVINO is not installed.
    """
    nncf = _import_nncf()
    openvino = import_openvino()
    logging.getLogger("nncf").setLevel(logging.ERROR)  # NNCF's own function would silence other handlers as well
    model = openvino.Core().read_model(network)
    batches = [dict(frame) for frame in frames]
    quantized = run_in_fresh_thread(
        lambda: nncf.quantize(
            model,
            nncf.Dataset(batches),
            preset=nncf.QuantizationPreset.MIXED,
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=count,
            ignored_scope=nncf.IgnoredScope(types=_FLOAT_TYPES, names=sensitive_products(model), validate=False),
        )
    )
    path = directory / f"{name}.xml"
    openvino.save_model(quantized, path, compress_to_fp16=False)
    return RuntimeFile(runtime="openvino", file=path.name, precision="int8")


def sensitive_products(model: Any) -> list[str]:  # noqa: ANN401 - openvino.Model
    """Names of the products that stay in float: little of the arithmetic, most of the loss.

    They are the products of the attention, whose two factors both depend on the frame; the first of each modality,
    which reads a sensor's whole range; and the last, whose rounding would show in the labels. With them in int8, 5 % of
    the bundled B0's labels changed; without, 0.3 %, for 3 % of the time.
    """
    from_frame: set[str] = set()  # nodes that depend on an input, not on weights alone
    after_product: set[str] = set()
    sensitive = []
    nodes = model.get_ordered_ops()
    sources = {node.get_name(): [value.get_node().get_name() for value in node.input_values()] for node in nodes}
    for node in nodes:
        name, reads = node.get_name(), sources[node.get_name()]
        if node.get_type_name() == "Parameter" or not from_frame.isdisjoint(reads):
            from_frame.add(name)
        is_product = node.get_type_name() in _PRODUCTS
        if is_product and (from_frame.issuperset(reads) or after_product.isdisjoint(reads)):
            sensitive.append(node.get_friendly_name())
        if is_product or not after_product.isdisjoint(reads):
            after_product.add(name)
    before_product: set[str] = set()
    for node in reversed(nodes):
        is_product = node.get_type_name() in _PRODUCTS
        if is_product and node.get_name() not in before_product:
            sensitive.append(node.get_friendly_name())
        if is_product or node.get_name() in before_product:
            before_product.update(sources[node.get_name()])
    return sensitive


def measure_loss(reference: Backend, candidate: Backend, frames: Dataset, *, limit: int = 0) -> AccuracyLoss:
    """Segment the same labeled frames with both backends, one by one.

    Args:
        limit: number of frames from the start; 0 for all.

    Raises:
        ExportError: there is no frame.
    """
    count = min(limit, len(frames)) if limit else len(frames)
    if count == 0:
        raise ExportError("no held-out frame to measure the loss on; give a split with labeled frames")
    matrices = [ConfusionMatrix(len(frames.task.class_names)) for _ in range(2)]
    equal = pixels = 0
    for index in range(count):
        sample = frames[index]
        inputs = frame_inputs(sample, frames.task)
        expected, found = (backend.run(inputs)["labels"] for backend in (reference, candidate))
        for matrix, labels in zip(matrices, (expected, found), strict=True):
            matrix.add(sample.labels, labels[0])
        equal += int((expected == found).sum())
        pixels += expected.size
    return AccuracyLoss(
        frames=count, reference_miou=matrices[0].miou(), miou=matrices[1].miou(), label_agreement=equal / pixels
    )


def _import_nncf() -> Any:  # noqa: ANN401 - a module
    try:
        return importlib.import_module("nncf")
    except ImportError:
        raise ExportError('NNCF is not installed; run: pip install "geminifusion[openvino]"') from None
