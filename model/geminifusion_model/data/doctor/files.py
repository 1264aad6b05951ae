"""Checks of what lies in the files beside the pixels: orientation tags that are not applied."""

from __future__ import annotations

from geminifusion_model.data.doctor.findings import Finding
from geminifusion_model.data.exif import exif_orientation
from geminifusion_model.data.frame_files import FileDataset
from geminifusion_model.data.hha import WithHHA
from geminifusion_model.data.label_files import LabelCode
from geminifusion_model.data.sample import Dataset


def check_files(split: str, dataset: Dataset) -> list[Finding]:
    """Pictures that other programs show turned."""
    files = _files_of(dataset)
    if files is None:
        return []
    turned = tuple(frame.name for frame in files.frames if exif_orientation(frame.rgb) != 1)
    if not turned:
        return []
    return [
        Finding(
            severity="warning",
            code="exif-orientation",
            split=split,
            frames=turned,
            message="the rgb has an EXIF orientation, which training and serving do not apply: they take pixels as "
            "stored",
            advice="if the labels were drawn on the turned picture, store it turned and without the tag; if they lie "
            "on the pixels as stored, remove the tag",
        )
    ]


def label_code_of(dataset: Dataset) -> LabelCode | None:
    """How the label files are read; None for data that lies in no files."""
    files = _files_of(dataset)
    return None if files is None else files.label_code


def _files_of(dataset: Dataset) -> FileDataset | None:
    while isinstance(dataset, WithHHA):
        dataset = dataset.dataset
    return dataset if isinstance(dataset, FileDataset) else None
