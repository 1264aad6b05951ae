"""A folder of aligned images, one subfolder for each domain; the files of one view share their stem.

    ROOT/domains.yaml                name, license (optional)
    ROOT/train/rgb/0001.png          8 bits, three channels
    ROOT/train/depth/0001.png        16-bit millimetres, or float metres (TIFF, npy); 0 = no measurement
    ROOT/train/normal/0001.png       8 bits, (n + 1) · 127.5 of x right, y up, z towards the camera; all 128 = none
    ROOT/train/shade/0001.png        8 bits, one channel; as are edge_texture and edge_occlusion
    ROOT/test/…

The domains are those of `domains.FRAME_DOMAINS`; folders of other names are not looked at.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from geminifusion_model.data.frame_listing import IMAGE_SUFFIXES
from geminifusion_model.data.image_files import read_metres, read_rgb, read_values
from geminifusion_model.data.layout import LayoutError, LayoutProblems
from geminifusion_model.data.sample import DatasetError
from geminifusion_model.translation.domains import FRAME_DOMAINS, Domain
from geminifusion_model.translation.views import FileViews, ViewFiles, Views, absent_domains, require_aligned
from geminifusion_model.yaml_files import YamlError, quoted, read_yaml

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

CONTRACT_NAME = "domains.yaml"
_ADVICE = "docs/guides/translation.md describes a folder of aligned images"
_SHORTEST_NORMAL = 0.5  # an encoded 0 0 0 is a little off
_MM_PER_M = 1000.0


def is_aligned_folder(root: Path) -> bool:
    """Whether a folder looks like one of aligned images: two domains or more in one of its subfolders."""
    if (root / CONTRACT_NAME).is_file():
        return True
    return root.is_dir() and any(len(_domains_in(folder)) > 1 for folder in _split_folders(root))


def splits_of_folder(root: Path) -> tuple[str, ...]:
    """The splits of an aligned folder, training first."""
    found = sorted(folder.name for folder in _split_folders(root) if _domains_in(folder))
    return tuple(sorted(found, key=lambda name: name != "train"))


def aligned_folder(root: Path, split: str, needed: Sequence[str], *, limit: int | None = None) -> FileViews:
    """The views of one split that have all needed domains.

    Args:
        needed: names of domains; files of others need not exist.
        limit: only the first views.

    Raises:
        LayoutError: a folder or file is missing, or images of a view differ in size; it names every problem.
    """
    problems = LayoutProblems(root, _ADVICE)
    folder = root / split
    files: list[ViewFiles] = []
    if not folder.is_dir():
        problems.add(f"there is no split {split!r}; the folder has {', '.join(splits_of_folder(root)) or 'none'}")
    elif sentence := absent_domains(needed, _domains_in(folder), folder):
        problems.add(sentence)
    else:
        files = _listed(folder, needed, problems)[:limit]
    if not problems.found:
        require_aligned(files, problems)
    problems.raise_if_any()
    name, license_ = _described(root)
    return FileViews(files, FRAME_DOMAINS, read_domain, data=name, data_license=license_)


def read_domain(domain: Domain, path: Path) -> tuple[Floats, Mask]:
    """An image file as stored in an aligned folder, encoded, and where there is a value.

    Raises:
        DatasetError: the file is missing, damaged, or not stored as the domain is.
    """
    if domain.kind == "depth":
        metres = read_metres(path, None)
        return domain.encode(metres), metres > 0
    if domain.kind == "color":
        rgb = read_rgb(path)
        return domain.encode(rgb), np.ones(rgb.shape[:2], np.bool_)
    stored = read_values(path, domain.channels)
    if stored.max(initial=0) > 255:
        raise DatasetError(f"{path} has values up to {stored.max():g}; expected 8 bits, as a {domain.name} is stored")
    if domain.kind == "normal":
        normal = stored / 127.5 - 1
        known = (normal * normal).sum(axis=2) > _SHORTEST_NORMAL**2
        return np.where(known[..., None], domain.encode(normal), 0).astype(np.float32), known
    return domain.encode(stored / 255), np.ones(stored.shape, np.bool_)


def check_new_splits(root: Path, splits: Iterable[str]) -> None:
    """Check that a folder has none of these splits, before any of them is computed.

    Raises:
        DatasetError: it has one.
    """
    for split in splits:
        if (root / split).exists():
            raise DatasetError(f"{root / split} exists already; name a new folder")


def write_aligned(
    views: Views, root: Path, split: str, names: Sequence[str], *, on_view: Callable[[int], None] | None = None
) -> None:
    """Write a split of an aligned folder, so that its domains are computed only once.

    Args:
        names: of the domains to write, of `FRAME_DOMAINS`.
        on_view: called with the number of views done.

    Raises:
        DatasetError: the split exists already, or a file cannot be written.
    """
    check_new_splits(root, [split])
    partial = root / f".{split}.partial"  # renamed at the end: a split that was cut short cannot be read
    if partial.exists():
        shutil.rmtree(partial)  # an earlier try may have written views that this one has not
    for name in names:
        (partial / name).mkdir(parents=True)
    for index in range(len(views)):
        view = views.read(index, names)
        for name in names:
            path = partial / name / f"{index + 1:06d}.png"
            if not cv2.imwrite(str(path), _stored(views.domains[name], view.images[name], view.measured[name])):
                raise DatasetError(f"{path} cannot be written; is the disk full?")
        if on_view is not None:
            on_view(index + 1)
    text = f"name: {quoted(views.data)}\nlicense: {quoted(views.data_license)}\n"
    (root / CONTRACT_NAME).write_text(text, encoding="utf-8")
    partial.rename(root / split)


def _stored(domain: Domain, image: Floats, measured: Mask) -> NDArray[np.integer]:
    """An encoded image as `read_domain` reads it back, in OpenCV's order of channels."""
    if domain.kind == "depth":
        millimetres = np.rint(domain.decoded(image) * _MM_PER_M)
        return np.where(measured, millimetres, 0).astype(np.uint16)
    stored = np.rint((image + 1) * 127.5).clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(stored[..., ::-1]) if stored.ndim == 3 else stored


def _split_folders(root: Path) -> list[Path]:
    """Folders that may be splits; a hidden one is another program's, or a split that was cut short."""
    return [folder for folder in root.iterdir() if folder.is_dir() and not folder.name.startswith(".")]


def _domains_in(folder: Path) -> tuple[str, ...]:
    return tuple(name for name in FRAME_DOMAINS if (folder / name).is_dir())


def _listed(folder: Path, needed: Sequence[str], problems: LayoutProblems) -> list[ViewFiles]:
    """Views by stem, in order; a stem that a domain lacks, or has twice, is a problem."""
    by_domain: dict[str, dict[str, Path]] = {}
    for name in needed:
        stems = by_domain.setdefault(name, {})
        for path in sorted((folder / name).iterdir()):
            if path.suffix.lower() not in IMAGE_SUFFIXES or path.name.startswith("."):
                continue
            if path.stem in stems:
                problems.add(f"{folder / name} has {stems[path.stem].name} and {path.name}; take one away")
            stems[path.stem] = path
    everywhere = sorted(set().union(*by_domain.values()))
    if not everywhere:
        problems.add(f"{folder} holds no image in {', '.join(needed)}; expected {', '.join(IMAGE_SUFFIXES)}")
    for stem in everywhere:
        for name in needed:
            if stem not in by_domain[name]:
                problems.add(f"view {stem} has no file in {folder / name}")
    if problems.found:
        return []
    return [ViewFiles(stem, {name: by_domain[name][stem] for name in needed}) for stem in everywhere]


def _described(root: Path) -> tuple[str, str]:
    """Name and license of the data."""
    path = root / CONTRACT_NAME
    if not path.is_file():
        return root.resolve().name, "not stated"
    try:
        content = read_yaml(path)
    except YamlError as error:
        raise LayoutError(root, [str(error)], _ADVICE) from None
    values = content if isinstance(content, dict) else {}
    name, license_ = values.get("name", root.resolve().name), values.get("license", "not stated")
    if not isinstance(name, str) or not isinstance(license_, str) or set(values) - {"name", "license"}:
        raise LayoutError(root, [f"{CONTRACT_NAME} holds more than name and license, both text"], _ADVICE)
    return name, license_
