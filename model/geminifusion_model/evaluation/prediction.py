"""The prediction for one frame under a protocol.

Axes: K classes, H and W the size at which the frame is scored.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from geminifusion_model.data.loader import stack_raw
from geminifusion_model.data.sample import Sample
from geminifusion_model.encoding import encode_inputs
from geminifusion_model.evaluation.protocols import Interpolation, Protocol
from geminifusion_model.network import GeminiFusion
from geminifusion_model.task import Task

# Changes encoded inputs, one `1 3 h w` per modality, before the network sees them.
Corruption = Callable[[tuple[Tensor, ...]], tuple[Tensor, ...]]


@dataclass(frozen=True)
class ScoredFrame:
    """One frame with truth and prediction at the size at which they are compared.

    Args:
        index: its place in the data set.
        sample: as the data set gave it, at its own size.
        truth: `H W` uint8; `num_classes` and above is no class.
        labels: `H W` uint8, the most probable class.
        scores: `K H W` float32, log-probabilities up to a constant per pixel; None of a served graph, which keeps them.
        num_classes: of `scores` where there are any.
        graph_confidence, gate: `H W` float32 as a served graph gives them; it has calibrated its confidence itself.
    """

    index: int
    sample: Sample
    truth: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    scores: Tensor | None
    num_classes: int = -1
    graph_confidence: NDArray[np.float32] | None = None
    gate: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        if self.scores is not None:
            object.__setattr__(self, "num_classes", len(self.scores))

    @property
    def labeled(self) -> NDArray[np.bool_]:
        """`H W`, where `truth` is a class."""
        return self.truth < self.num_classes

    def confidence(self, temperature: float = 1.0) -> NDArray[np.float32]:
        """`H W`, probability of the most probable class when the scores are divided by `temperature`."""
        if self.scores is None:
            assert self.graph_confidence is not None, "a served graph gives it"
            return self.graph_confidence
        # the softmax of the winner alone: 1 / sum(exp(score - best)) spares a K H W map of probabilities
        scaled = self.scores / temperature
        confidence: NDArray[np.float32] = (scaled.amax(0) - scaled.logsumexp(0)).exp().numpy()
        return confidence

    def measurement(self, name: str) -> NDArray[np.float32] | None:
        """`H W` or `H W 3` values of a modality other than RGB at the size of `truth`; None if the frame lacks it."""
        values = self.sample.others.get(name)
        if values is None or values.shape[:2] == self.truth.shape:
            return values
        image = torch.from_numpy(values).reshape(*values.shape[:2], -1).permute(2, 0, 1)[None]
        resized: NDArray[np.float32] = _resize(image, self.truth.shape, "nearest")[0].permute(1, 2, 0).numpy()
        return resized.reshape(*self.truth.shape, *values.shape[2:])


@torch.inference_mode()
def score_frame(
    net: GeminiFusion,
    sample: Sample,
    task: Task,
    protocol: Protocol,
    *,
    index: int = 0,
    corruption: Corruption | None = None,
) -> ScoredFrame:
    """Run the ensemble on one frame.

    Args:
        task: encodings and input scale, both applied as in training.
        corruption: applied to the encoded inputs of every view.
    """
    truth = _resized_truth(sample.labels, protocol)
    raw = stack_raw([sample], task)
    device = net.ensemble_logits.device
    views: list[Tensor] = []
    for scale in protocol.scales:
        inputs = _view(raw, task, protocol, scale)
        if corruption is not None:
            inputs = corruption(inputs)  # before the transfer: one seed is the same noise on every device
        inputs = tuple(values.to(device) for values in inputs)
        views.append(_enlarged(net(*inputs).ensemble, truth.shape, protocol))
        if protocol.flip:
            mirrored = net(*(values.flip(-1) for values in inputs)).ensemble.flip(-1)
            views.append(_enlarged(mirrored, truth.shape, protocol))
    scores = views[0] if len(views) == 1 else _mean_log_probability(views)
    labels: NDArray[np.uint8] = scores.argmax(0).to(torch.uint8).cpu().numpy()
    return ScoredFrame(index, sample, truth, labels, scores.cpu())


def _view(raw: tuple[Tensor, ...], task: Task, protocol: Protocol, scale: float) -> tuple[Tensor, ...]:
    """Encoded inputs `1 3 h w`, resized as the protocol says and reduced as the task says."""
    if protocol.keeps_frames:
        return encode_inputs(raw, task)
    encoded = encode_inputs(raw, dataclasses.replace(task, input_scale=1.0))
    frame_height, frame_width = encoded[0].shape[-2:]
    *steps, (height, width) = protocol.resize_steps(frame_height, frame_width, scale)
    # the reduction rides on the last resize, for every resize costs sharpness
    sixteenths = round(16 * task.input_scale)
    steps.append((height * sixteenths // 16, width * sixteenths // 16))
    views = []
    for values, how in zip(encoded, task.modalities, strict=True):
        mode: Interpolation = "bilinear" if how.name == "rgb" else protocol.measurement_interpolation
        for size in steps:
            values = _resize(values, size, mode)
        views.append(values)
    return tuple(views)


def _resized_truth(labels: NDArray[np.uint8], protocol: Protocol) -> NDArray[np.uint8]:
    if not protocol.resize_labels:
        return labels
    image = torch.from_numpy(labels)[None, None]
    for size in protocol.resize_steps(*labels.shape):
        image = _resize(image, size, "nearest")
    resized: NDArray[np.uint8] = image[0, 0].numpy()
    return resized


def _enlarged(logits: Tensor, size: tuple[int, ...], protocol: Protocol) -> Tensor:
    """`1 K h w` logits to `K H W`."""
    return _resize(logits.float(), size, protocol.logit_interpolation)[0]


def _mean_log_probability(views: list[Tensor]) -> Tensor:
    total = torch.zeros_like(views[0])
    for logits in views:
        total += logits.softmax(0)
    return (total / len(views)).clamp_min(torch.finfo(total.dtype).tiny).log()


def _resize(image: Tensor, size: tuple[int, ...], mode: Interpolation) -> Tensor:
    """`B C h w` to `B C H W`, without antialiasing, as the original's torchvision did with tensors."""
    if image.shape[-2:] == size:
        return image
    return F.interpolate(image, size=list(size), mode=mode, align_corners=None if mode == "nearest" else False)
