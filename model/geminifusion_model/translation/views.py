"""A view: aligned images of some domains, encoded for a network. What reads them from files implements `Views`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from geminifusion_model.data.image_files import read_bytes, unreadable
from geminifusion_model.data.layout import LayoutProblems
from geminifusion_model.data.sample import DatasetError
from geminifusion_model.translation.domains import Domain
from geminifusion_runtime.decoding.image_headers import read_header
from geminifusion_runtime.errors import GeminiFusionError

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

_SIZES_CHECKED = 2000  # views whose sizes are compared before any is read; the others are when they are


@dataclass(frozen=True, eq=False)
class View:
    """Aligned images of one view.

    Args:
        name: unique within its split.
        images: by domain, encoded: float32 in [-1, 1], `H W 3` or, of one channel, `H W`.
        measured: by domain, `H W`: where there is a value.
    """

    name: str
    images: Mapping[str, Floats]
    measured: Mapping[str, Mask]


class Views(Protocol):
    """A list of views that have the same domains.

    Attributes:
        data, data_license: where they come from, for records and tables.
        domains: those it has, by name.
        counts_unmeasured: whether unmeasured pixels of the target count in losses and scores, as in the published ones
            on Taskonomy.
    """

    data: str
    data_license: str
    domains: Mapping[str, Domain]
    counts_unmeasured: bool

    def __len__(self) -> int: ...

    def read(self, index: int, names: Sequence[str]) -> View:
        """The images of these domains alone, all of one size.

        Raises:
            DatasetError: a file is missing, damaged or of another size than the others.
        """
        ...


@dataclass(frozen=True)
class ViewFiles:
    """The files of one view, by domain."""

    name: str
    paths: Mapping[str, Path]


ReadDomain = Callable[[Domain, Path], tuple[Floats, Mask]]


class FileViews:
    """Views of which every image is a file. Implements `Views`.

    Args:
        read_domain: from a domain's file to the encoded image and where there is a value.
    """

    def __init__(
        self,
        files: Sequence[ViewFiles],
        domains: Mapping[str, Domain],
        read_domain: ReadDomain,
        *,
        data: str,
        data_license: str,
        counts_unmeasured: bool = False,
    ) -> None:
        self.files, self.domains, self._read_domain = tuple(files), domains, read_domain
        self.data, self.data_license, self.counts_unmeasured = data, data_license, counts_unmeasured

    def __len__(self) -> int:
        return len(self.files)

    def read(self, index: int, names: Sequence[str]) -> View:
        """See `Views`."""
        view = self.files[index]
        found = {name: self._read_domain(self.domains[name], view.paths[name]) for name in names}
        sizes = {name: image.shape[:2] for name, (image, _) in found.items()}
        if len(set(sizes.values())) > 1:
            raise DatasetError(unequal_sizes(view.name, sizes))
        return View(
            view.name,
            {name: image for name, (image, _) in found.items()},
            {name: mask for name, (_, mask) in found.items()},
        )


def require_aligned(files: Sequence[ViewFiles], problems: LayoutProblems) -> None:
    """Add missing files, and views whose images differ in size, to `problems`."""
    for view in files:
        for name, path in view.paths.items():
            problems.require_file(path, f"{name} of view {view.name}")
    if problems.found:
        return
    step = max(-(-len(files) // _SIZES_CHECKED), 1)
    for view in files[::step]:
        try:
            sizes = {name: _size(path) for name, path in view.paths.items()}
        except (DatasetError, GeminiFusionError) as error:
            problems.add(unreadable(error) if isinstance(error, GeminiFusionError) else str(error))
            continue
        if len(set(sizes.values())) > 1:
            problems.add(unequal_sizes(view.name, sizes))


def unequal_sizes(view: str, sizes: Mapping[str, tuple[int, ...]]) -> str:
    """The sentence about a view whose images differ in size, height and width by domain."""
    found = ", ".join(f"{name} {size[1]}x{size[0]}" for name, size in sizes.items())
    return f"view {view}: {found}; expected one size, aligned pixel by pixel"


def absent_domains(names: Iterable[str], there: Iterable[str], where: object) -> str | None:
    """The sentence about domains that a folder does not have; None if it has all."""
    there = tuple(there)
    absent = [name for name in names if name not in there]
    return f"{where} has no domain {absent[0]!r}; it has {', '.join(there) or 'none'}" if absent else None


def _size(path: Path) -> tuple[int, ...]:
    header = read_header(read_bytes(path), str(path))
    return header.height, header.width
