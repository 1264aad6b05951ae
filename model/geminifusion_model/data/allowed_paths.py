"""Which files the tables of a data set may name: those in its folder, and in folders that the user allows.

A data set comes from others, and a table that names any file of this machine would put it into reports and artifacts.
Links are followed: they are made by whoever arranges the folder.
"""

from __future__ import annotations

import os
from pathlib import Path

ALLOWED_VARIABLE = "GEMINIFUSION_DATA_FOLDERS"


def is_within(root: Path, path: Path) -> bool:
    """Whether a table in `root` may name `path`: `GEMINIFUSION_DATA_FOLDERS` lists further folders, like `PATH`."""
    further = [Path(folder) for folder in os.environ.get(ALLOWED_VARIABLE, "").split(os.pathsep) if folder]
    place = _without_dots(path)
    return any(place.is_relative_to(_without_dots(folder)) for folder in (root, *further))


def _without_dots(path: Path) -> Path:
    return Path(os.path.normpath(path.absolute()))  # `resolve` would follow links
