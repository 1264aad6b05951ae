"""Checks of what lies in the files beside the pixels: orientation tags that are not applied."""

from __future__ import annotations

from pathlib import Path

from geminifusion_model.data.doctor.findings import Finding
from geminifusion_model.data.frame_files import FileDataset
from geminifusion_model.data.hha import WithHHA
from geminifusion_model.data.image_files import orientation_of
from geminifusion_model.data.label_files import LabelCode
from geminifusion_model.data.sample import Dataset, DatasetError


def check_files(split: str, dataset: Dataset) -> list[Finding]:
    """Images that other programs show turned."""
    files = _files_of(dataset)
    if files is None:
        return []
    turned: dict[str, list[str]] = {}
    for frame in files.frames:
        for role, path in {"rgb": frame.rgb, **frame.others, "labels": frame.labels}.items():
            if path is not None and _is_turned(path):
                turned.setdefault(role, []).append(frame.name)
    return [
        Finding(
            severity="warning",
            code="orientation-tag",
            split=split,
            frames=tuple(frames),
            message=f"the {role} has an orientation tag (EXIF), which training and serving do not apply: they take "
            "pixels as stored",
            advice="if the labels were drawn on the turned picture, store it turned and without the tag; if they lie "
            "on the pixels as stored, remove the tag",
        )
        for role, frames in turned.items()
    ]


def _is_turned(path: Path) -> bool:
    try:
        return orientation_of(path) != 1
    except DatasetError:  # found as an unreadable frame
        return False


def label_code_of(dataset: Dataset) -> LabelCode | None:
    """How the label files are read; None for data that lies in no files."""
    files = _files_of(dataset)
    return None if files is None else files.label_code


def _files_of(dataset: Dataset) -> FileDataset | None:
    while isinstance(dataset, WithHHA):
        dataset = dataset.dataset
    return dataset if isinstance(dataset, FileDataset) else None
