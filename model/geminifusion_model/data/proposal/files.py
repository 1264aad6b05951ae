"""The image files of a folder, sorted into roles and splits by the words in their paths, or else by what they hold."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from geminifusion_model.data.frame_listing import IMAGE_SUFFIXES
from geminifusion_model.data.image_files import MAX_PIXELS, read_bytes
from geminifusion_model.data.png_indices import decode_indices
from geminifusion_runtime.decoding.image_headers import read_header
from geminifusion_runtime.decoding.images import check_pixels, decode_pixels
from geminifusion_runtime.errors import GeminiFusionError

# the first role with a word in a name has it: `label_images` are labels
_WORDS: dict[str, frozenset[str]] = {
    "labels": frozenset({
        "label", "labels", "mask", "masks", "annotation", "annotations", "annot", "annots", "seg", "segmentation",
        "segmentationclass", "semantic", "gt", "groundtruth", "gtfine", "target", "targets", "labelids",
        "labeltrainids",
    }),
    "depth": frozenset({"depth", "depths", "depthmap", "depthmaps", "dep", "hha", "rawdepth"}),
    "thermal": frozenset({"thermal", "lwir", "ir", "infrared", "tir", "th"}),
    "event": frozenset({"event", "events", "dvs"}),
    "lidar": frozenset({"lidar", "velodyne"}),
    "rgb": frozenset({
        "rgb", "rgbs", "color", "colors", "colour", "colours", "image", "images", "img", "imgs", "visible", "vis",
        "jpegimages", "leftimg", "photo", "photos", "camera",
    }),
}  # fmt: skip
_SPLIT = re.compile(r"(train|test|val)(ing|id|idation)?")
# of instances, and pictures of labels or depth for people
_IGNORED = frozenset({"instance", "instances", "instanceids", "segmentationobject", "panoptic", "polygons", "edges"})
_FOR_PEOPLE = frozenset({"rgb", "color", "colors", "vis", "viz", "visual", "overlay", "overlays", "preview"})
_ALL_WORDS = frozenset().union(*_WORDS.values())
_FEW_VALUES = 64  # of a label file; a photograph has more


@dataclass(frozen=True)
class ImageFile:
    """One image file.

    Args:
        path: relative to the folder.
        role: `rgb`, `labels` or a modality.
        split: by a folder's name; None if no folder says so.
        scene: folders that say neither role nor split.
    """

    path: PurePosixPath
    role: str
    split: str | None
    scene: str

    def is_for_people(self) -> int:
        """How many words say that it is a colored picture of something else."""
        return 0 if self.role == "rgb" else len(_FOR_PEOPLE & set(_tokens(str(self.path.with_suffix("")))))

    def variant(self) -> frozenset[str]:
        """The words that tell it from other files of its role."""
        return frozenset(set(_tokens(str(self.path.with_suffix("")))) & (_ALL_WORDS | _FOR_PEOPLE))

    def keys(self) -> tuple[str, ...]:
        """What may be common to the files of one frame, the strictest first."""
        stem = self.path.stem
        words = [word for word in re.split(r"[^A-Za-z0-9]+", stem) if not _role_of([word])]
        digits = "-".join(re.findall(r"\d+", stem))
        bare = "_".join(words)
        return (f"{self.scene}/{stem}", f"{self.scene}/{bare}", f"{self.scene}/{digits}", stem, digits)


def image_files(root: Path) -> tuple[list[ImageFile], list[str]]:
    """All image files below `root`, and notes on what was passed over."""
    paths: list[PurePosixPath] = []
    others: Counter[str] = Counter()
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(name for name in names if not name.startswith(".")):
            path = PurePosixPath(Path(folder, name).relative_to(root).as_posix())
            if path.suffix.lower() in IMAGE_SUFFIXES:
                paths.append(path)
            elif path.suffix.lower() in (".bmp", ".gif", ".exr", ".jp2", ".mat"):
                others[path.suffix.lower()] += 1
    notes = [f"{count} {suffix} files are passed over: convert them to PNG or npy" for suffix, count in others.items()]
    by_folder: dict[PurePosixPath, list[PurePosixPath]] = defaultdict(list)
    for path in paths:
        by_folder[path.parent].append(path)
    found = []
    for folder_path, inside in by_folder.items():
        inside = [path for path in inside if not _IGNORED & set(_tokens(str(path.with_suffix(""))))]
        if not inside:
            notes.append(f"{folder_path} is passed over: it holds instances, by its name")
            continue
        stem_roles = {path: _role_of(_tokens(path.stem)) for path in inside}
        by_stem = len({role for role in stem_roles.values() if role}) > 1
        folder_role = _role_of(token for part in reversed(folder_path.parts) for token in _tokens(part))
        guessed = None if by_stem or folder_role else _role_by_content(root, inside)
        for path in inside:
            role = stem_roles[path] if by_stem else folder_role or guessed
            if role is not None:
                found.append(_image_file(path, role, named=by_stem or folder_role is not None))
    return found, notes


def _image_file(path: PurePosixPath, role: str, *, named: bool) -> ImageFile:
    splits = [found for part in path.parent.parts if (found := _split_of(part))]
    rest = [part for part in path.parent.parts if not _split_of(part) and not _role_of(_tokens(part))]
    split = splits[0] if splits else None
    return ImageFile(path, role, split, "/".join(rest) if named else "")


def _split_of(part: str) -> str | None:
    """The split that a folder is called by, alone or before the word of a role (`trainannot`)."""
    found = _SPLIT.match(part.lower())
    if found is None:
        return None
    rest = re.findall(r"[a-z]+", part.lower()[found.end() :])
    return found[1] if not rest or _role_of(rest) else None


def _tokens(name: str) -> list[str]:
    """The words of a path, in lower case; `trainannot` is two."""
    found = []
    for word in re.findall(r"[a-z]+", name.lower()):
        split = _SPLIT.match(word)
        rest = word[split.end() :] if split else ""
        found += [rest] if rest in _ALL_WORDS else [word]
    return found


def _role_of(tokens: Iterable[str]) -> str | None:
    known = {token.lower() for token in tokens}
    return next((role for role, words in _WORDS.items() if words & known), None)


def _role_by_content(root: Path, paths: Sequence[PurePosixPath]) -> str | None:
    stored = read_stored(root / paths[len(paths) // 2])
    if stored is None:
        return None
    if stored.ndim == 3:
        flat = stored.reshape(-1, stored.shape[2])
        return "labels" if len(np.unique(flat, axis=0)) <= _FEW_VALUES else "rgb"
    if len(np.unique(stored)) <= _FEW_VALUES:
        return "labels"
    return "depth" if stored.dtype.itemsize > 1 else "thermal"


def read_stored(path: Path) -> NDArray[np.generic] | None:
    """Pixels as stored, palette indices for palettes; None if the file is damaged or of another kind."""
    try:
        data = read_bytes(path)
        header = read_header(data, path.name)
        check_pixels(header, MAX_PIXELS, path.name)
        indices = decode_indices(data) if header.format == "png" else None
        return decode_pixels(data, header, path.name) if indices is None else indices
    except (GeminiFusionError, ValueError):
        return None
