"""From mmdetection3d's weights to a checkpoint of ours."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from geminifusion_model.detection.checkpoint import DetectorInfo, write_detector
from geminifusion_model.detection.config import MVXNET, DetectorConfig
from geminifusion_model.detection.detector import Detector
from geminifusion_model.detection.task import DetectionTask
from geminifusion_model.weights.files import OfficialWeightsError
from geminifusion_model.weights.mvxnet import fill_from_mvxnet, read_mvxnet
from geminifusion_model.weights.report import OfficialReport

_TASK = DetectionTask(data="KITTI object detection", image_size=(384, 1280), data_license="CC BY-NC-SA 3.0")


@dataclass(frozen=True, kw_only=True)
class ImportedDetector:
    """A detector with the task it was trained for.

    Args:
        path: of the file.
        report: of its tensors.
    """

    detector: Detector
    path: Path
    report: OfficialReport

    def write(self, directory: Path) -> None:
        """Write the checkpoint."""
        training = {"summary": f"imported from {self.path.name}: MVX-Net in mmdetection3d's layout"}
        info = DetectorInfo(network=self.detector.config, task=_TASK, training=training)
        write_detector(directory, self.detector.state_dict(), info)

    def to_table(self) -> str:
        """What was imported, in a few lines."""
        config = self.detector.config
        return (
            f"source   {self.path}: MVX-Net in mmdetection3d's layout\n"
            f"network  {config.middle} convolutions, {config.image_encoder}, fusion {config.fusion} behind "
            f"{'both point layers' if config.fusion_layers == 'both' else 'the last point layer'}\n"
            f"tensors  {len(self.report.used)} used, {len(self.report.ignored)} not needed\n"
            f"task     {_TASK.data}, {', '.join(config.class_names)}"
        )


def import_detector(path: Path) -> ImportedDetector:
    """Read weights of an MVX-Net, stock or GeminiFusion's, and give them their task.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        OfficialWeightsError: the weights are of another network, incomplete, or the file would run code.
    """
    try:
        detector, report = load_mvxnet(path)
    except OfficialWeightsError as error:
        raise OfficialWeightsError(f"{path}: {error}; is the file complete, and of this network?") from None
    return ImportedDetector(detector=detector, path=path, report=report)


@torch.no_grad()
def load_mvxnet(
    source: str | Path | Mapping[str, Tensor], config: DetectorConfig = MVXNET
) -> tuple[Detector, OfficialReport]:
    """A detector in eval mode with the weights of an MVX-Net.

    Args:
        source: a file, or a mapping from the original's names to tensors.
        config: range and voxels, which no tensor shows; the fusion is taken from the names in the file.

    Raises:
        FileNotFoundError: `source` names no file.
        OfficialWeightsError: anything is missing, left over or of another shape.
    """
    tensors, form = read_mvxnet(source)
    detector = Detector(dataclasses.replace(config, fusion=form.fusion, fusion_layers=form.fusion_layers))
    report = fill_from_mvxnet(detector.state_dict(), tensors, form)
    if not report.complete:
        raise OfficialWeightsError(report.describe())
    return detector.eval(), report
