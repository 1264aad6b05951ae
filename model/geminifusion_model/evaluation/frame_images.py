"""Images of a scored frame: inputs, truth, prediction, confidence and gate."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from geminifusion_model.data.loader import stack_raw
from geminifusion_model.data.sample import Dataset
from geminifusion_model.encoding import encode_inputs
from geminifusion_model.evaluation.evaluate import Scores
from geminifusion_model.evaluation.full_report import frames_from_worst_to_best
from geminifusion_model.evaluation.prediction import ScoredFrame
from geminifusion_model.evaluation.predictor import NetworkPredictor, Predictor
from geminifusion_model.evaluation.protocols import protocol_named
from geminifusion_model.inference_form import InferenceForm
from geminifusion_model.network import GeminiFusion
from geminifusion_model.task import Task

WIDTH = 320  # pixels of one image
Pixels = NDArray[np.integer | np.floating]

UNKNOWN_COLOR = (32, 34, 38)  # of pixels without a label or a measurement


@dataclass(frozen=True)
class FrameImage:
    """One image as a `data:` address, with a caption."""

    caption: str
    address: str


@dataclass(frozen=True)
class FrameSheet:
    """The images of one frame, and its pixel accuracy in percent."""

    name: str
    accuracy: float
    images: tuple[FrameImage, ...]


def frame_sheets(
    net: GeminiFusion | Predictor,
    dataset: Dataset,
    scores: Scores,
    *,
    protocol: str,
    task: Task,
    count: int,
    temperature: float = 1.0,
) -> tuple[FrameSheet, ...]:
    """Sheets of `count` frames at equal steps from the worst to the best of the scored ones.

    Args:
        scores: of this network on this data set.
    """
    how = protocol_named(protocol)
    predictor = NetworkPredictor(net, task) if isinstance(net, GeminiFusion) else net
    network = predictor.net if isinstance(predictor, NetworkPredictor) and not predictor.without else None
    folded = InferenceForm(network).cpu() if network is not None and _has_gate(network) else None
    sheets = []
    for index in frames_from_worst_to_best(scores, count):
        frame = predictor.score(dataset[index], how, index=index)
        gate = frame.gate if folded is None else _gate(folded, frame, task)
        right = float((frame.labels == frame.truth)[frame.labeled].mean())
        sheets.append(FrameSheet(frame.sample.name, 100 * right, _images(frame, task, temperature, gate)))
    return tuple(sheets)


def label_colors(task: Task) -> NDArray[np.uint8]:
    """`256 3` uint8 RGB, the color of every label value."""
    colors = np.full((256, 3), UNKNOWN_COLOR, np.uint8)
    colors[: len(task.palette)] = task.palette
    return colors


def _has_gate(net: GeminiFusion) -> bool:
    """True if the network has an inference form with a fusion whose attention can be shown."""
    config = net.config
    return config.fusion == "geminifusion" and len(config.modalities) == 2 and config.encoder.startswith("mit_")


@torch.inference_mode()
def _gate(folded: InferenceForm, frame: ScoredFrame, task: Task) -> NDArray[np.float32]:
    """`H W`, attention 0…1 the RGB stream gives to the other modality."""
    gate = folded(*encode_inputs(stack_raw([frame.sample], task), task)).gate
    full: NDArray[np.float32] = F.interpolate(
        gate[:, None], size=list(frame.truth.shape), mode="bilinear", align_corners=False
    ).numpy()
    return full[0, 0]


def _images(
    frame: ScoredFrame, task: Task, temperature: float, gate: NDArray[np.float32] | None
) -> tuple[FrameImage, ...]:
    images = [FrameImage("RGB", _photo(frame.sample.rgb))]
    for modality in task.modalities[1:]:
        values = frame.measurement(modality.name)
        if values is not None:
            title = modality.name.capitalize()
            images.append(_metres(title, values) if modality.unit == "metre" else _stored(title, values))
    confidence = frame.confidence(temperature)
    mean = float(confidence.mean())
    images += [
        FrameImage("Truth", _label_map(frame.truth, task)),
        FrameImage("Prediction", _label_map(frame.labels, task)),
        FrameImage(f"Confidence, mean {100 * mean:.0f} %", _heat(confidence, 0.0, 1.0, cv2.COLORMAP_VIRIDIS)),
    ]
    if gate is not None and len(task.modalities) > 1:
        low, high = (float(v) for v in np.percentile(gate, (2, 98)))
        caption = f"Gate to {task.modalities[1].name}, {low:.2f} to {high:.2f}"
        images.append(FrameImage(caption, _heat(gate, low, high, cv2.COLORMAP_MAGMA)))
    return tuple(images)


def _stored(name: str, values: NDArray[np.float32]) -> FrameImage:
    """Values of another sensor, `H W` or `H W 3`, stretched from the smallest to the largest."""
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    gray = np.clip(255 * (np.nan_to_num(values) - low) / max(high - low, 1e-6), 0, 255).astype(np.uint8)
    return FrameImage(name, _photo(gray if gray.ndim == 3 else np.repeat(gray[..., None], 3, axis=2)))


def _metres(name: str, metres: NDArray[np.float32]) -> FrameImage:
    measured = (metres > 0) & (metres < np.inf)
    if not measured.any():
        return FrameImage(
            f"{name}, nothing measured", _heat(np.zeros_like(metres), 0.0, 1.0, cv2.COLORMAP_TURBO, measured)
        )
    low, high = (float(v) for v in np.percentile(metres[measured], (1, 99)))
    # red is near, as in most sensors' own viewers
    return FrameImage(f"{name}, {low:.1f} to {high:.1f} m", _heat(-metres, -high, -low, cv2.COLORMAP_TURBO, measured))


def _heat(
    values: NDArray[np.float32], low: float, high: float, colormap: int, known: NDArray[np.bool_] | None = None
) -> str:
    """Values from low to high through an OpenCV color map; dark where not `known`."""
    share = np.clip((np.nan_to_num(values) - low) / max(high - low, 1e-6), 0, 1)
    bgr = cv2.applyColorMap((255 * share).astype(np.uint8), colormap)
    if known is not None:
        bgr[~known] = UNKNOWN_COLOR[::-1]
    return _encoded(_reduced(bgr, cv2.INTER_AREA), ".jpg", "jpeg")


def _photo(rgb: NDArray[np.uint8]) -> str:
    return _encoded(_reduced(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), cv2.INTER_AREA), ".jpg", "jpeg")


def _label_map(labels: NDArray[np.uint8], task: Task) -> str:
    rgb = label_colors(task)[_reduced(labels, cv2.INTER_NEAREST)]
    return _encoded(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), ".png", "png")


def _reduced(image: Pixels, interpolation: int) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    if width <= WIDTH:
        return image.astype(np.uint8, copy=False)
    size = (WIDTH, max(round(height * WIDTH / width), 1))
    return cv2.resize(image, size, interpolation=interpolation).astype(np.uint8, copy=False)


def _encoded(bgr: Pixels, suffix: str, kind: str) -> str:
    done, content = cv2.imencode(suffix, bgr)
    assert done
    return f"data:image/{kind};base64,{base64.b64encode(content.tobytes()).decode('ascii')}"
