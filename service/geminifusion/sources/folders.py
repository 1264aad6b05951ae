"""Folders, one for each modality: the files of one frame have the same name, but for the suffix."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..errors import InvalidInputError
from .base import SourceFrame, SourceRequest, listed

_SUFFIXES = {".jpeg", ".jpg", ".npy", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
# What cameras and people add to the names of the two files of a frame.
_KIND = r"(?:rgb|colou?r|image|img|depth|depth[_-]?mm|{modality})"


class FolderSource:
    """The frames of folders, in the order of their names."""

    def __init__(self, frames: Mapping[str, Mapping[str, Path]], name: str, notes: list[str]) -> None:
        self._frames = frames
        self.name = name
        self.count: int | None = len(frames)
        self.period_s: float | None = None
        self.notes = notes

    def frames(self) -> Iterator[SourceFrame]:
        """The frames; their files are read by whoever segments them."""
        for name, images in self._frames.items():
            yield SourceFrame(name=name, images=images)

    def close(self) -> None:
        """Nothing is open."""


def open_folders(request: SourceRequest) -> FolderSource:
    """Pair the files of folders by their stems.

    `a/0001.jpg` and `a/0001.png` are a frame named `a/0001`; a last part that names the kind of the image
    (`0001_rgb.jpg` and `0001_depth.png`) does not count.

    Raises:
        InvalidInputError: something is no folder or holds no images, two files of one folder have the same name, or
            files have no counterpart.
    """
    by_modality = {name: _files(name, folder, request.recursive) for name, folder in request.inputs.items()}
    every = sorted(set().union(*by_modality.values()))
    paired = [stem for stem in every if all(stem in files for files in by_modality.values())]
    unpaired = [
        f"{files[stem]} (no {' or '.join(other for other, theirs in by_modality.items() if stem not in theirs)})"
        for stem in every
        if stem not in set(paired)
        for files in by_modality.values()
        if stem in files
    ]
    if not paired:
        raise InvalidInputError(f"no file has a counterpart of the same name: {listed(unpaired)}; rename them")
    notes = []
    if unpaired:
        many = f"{len(unpaired)} file{'s have' if len(unpaired) > 1 else ' has'} no counterpart: {listed(unpaired)}"
        if not request.skip_unpaired:
            raise InvalidInputError(f"{many}; add or remove them, or go on without them with --skip-unpaired")
        notes.append(f"{many}; left out")
    frames = {stem: {name: files[stem] for name, files in by_modality.items()} for stem in paired}
    return FolderSource(frames, name=next(iter(request.inputs.values())).resolve().name, notes=notes)


def _files(modality: str, folder: Path, recursive: bool) -> dict[str, Path]:
    """The images of a folder by the name of their frame."""
    if not folder.is_dir():
        raise InvalidInputError(f"{modality} is {folder} and others are folders; give a folder for each modality")
    kind = re.compile(rf"[ ._-]?{_KIND.format(modality=re.escape(modality))}$", re.IGNORECASE)
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*") if recursive else folder.iterdir()):
        if path.suffix.lower() not in _SUFFIXES or path.name.startswith(".") or not path.is_file():
            continue
        stem = kind.sub("", path.stem) or path.stem
        key = path.relative_to(folder).with_name(stem).as_posix()
        if key in found:
            raise InvalidInputError(
                f"{found[key]} and {path} are both {modality} of frame {key!r}; keep one of them, or give each "
                "modality a folder of its own"
            )
        found[key] = path
    if not found:
        hint = "" if recursive else "; those in folders within it are taken with --recursive"
        raise InvalidInputError(f"{folder} holds no images ({', '.join(sorted(_SUFFIXES))}){hint}")
    return found
