"""Unlabeled photographs in folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geminifusion_model.data.image_files import read_rgb
from geminifusion_model.data.sample import DatasetError, Sample
from geminifusion_model.task import IMAGENET_RGB, Task

SUFFIXES = (".jpg", ".jpeg", ".png")
NO_FOLDER = -100  # torch's default value for what a cross-entropy leaves out


class Photographs:
    """The photographs of several sources, in a fixed order: source by source, by path within each.

    A `Dataset` of samples whose labels are all the ignore value, so that a run's record covers it.

    Args:
        sources: folders, searched to any depth for files that end like `SUFFIXES`, or text files that name one
            photograph a line, relative to where they lie.

    Attributes:
        names: of the photographs, the source's number first; unique.
        folder_names: the folders directly in the sources that hold photographs, sorted. The same name in two sources
            is the same folder.
        folders: for each photograph the index in `folder_names`; `NO_FOLDER` where it lies in the source itself or
            comes from a list.

    Raises:
        DatasetError: a source is missing or holds no photograph, or a listed one is missing.
    """

    def __init__(self, sources: Sequence[Path]) -> None:
        self.sources = tuple(sources)
        self.paths: list[Path] = []
        self.names: list[str] = []
        folders: list[str | None] = []
        for number, source in enumerate(self.sources):
            found = _listed(source) if source.is_file() else _searched(source)
            for relative in found:
                self.paths.append((source.parent if source.is_file() else source) / relative)
                self.names.append(f"{number}/{relative.as_posix()}")
                nested = len(relative.parts) > 1 and not source.is_file()
                folders.append(relative.parts[0] if nested else None)
        self.folder_names = tuple(sorted({name for name in folders if name is not None}))
        index = {name: number for number, name in enumerate(self.folder_names)}
        self.folders = [NO_FOLDER if name is None else index[name] for name in folders]
        self.task = Task(
            data=f"{len(self.paths)} photographs of {', '.join(source.name for source in self.sources)}",
            modalities=(IMAGENET_RGB,),
            class_names=("unlabeled",),
            palette=((0, 0, 0),),
        )

    def __len__(self) -> int:
        return len(self.paths)

    def rgb(self, index: int) -> NDArray[np.uint8]:
        """One photograph, `H W 3` uint8.

        Raises:
            DatasetError: its file is damaged.
        """
        return read_rgb(self.paths[index])

    def __getitem__(self, index: int) -> Sample:
        rgb = self.rgb(index)
        unlabeled = np.broadcast_to(np.uint8(self.task.ignore_index), rgb.shape[:2])
        return Sample(self.names[index], rgb, {}, unlabeled)


def _searched(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise DatasetError(f"{folder} does not exist; give a folder of photographs, or a text file that lists some")
    found = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not found:
        raise DatasetError(f"{folder} holds no file that ends in {', '.join(SUFFIXES)}; give a folder of photographs")
    return found


def _listed(listing: Path) -> list[Path]:
    try:
        lines = [line.strip() for line in listing.read_text(encoding="utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise DatasetError(f"{listing} is no text; give a folder, or a file that names one photograph a line") from None
    if not lines:
        raise DatasetError(f"{listing} is empty; expected one photograph a line, relative to {listing.parent}")
    missing = [line for line in lines if not (listing.parent / line).is_file()]
    if missing:
        raise DatasetError(
            f"{len(missing)} of {len(lines)} photographs that {listing} lists are missing, first "
            f"{listing.parent / missing[0]}; give paths relative to {listing.parent}"
        )
    if len(set(lines)) < len(lines):
        raise DatasetError(f"{listing} names {len(lines) - len(set(lines))} photographs twice; name each once")
    return [Path(line) for line in lines]
