"""Writing made frames to a new folder with several processes."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from geminifusion_model.data.sample import DatasetError

_SHARE = 4  # frames that a process takes at a time


def require_new(root: Path) -> None:
    """Check that a folder does not exist or is empty.

    Raises:
        DatasetError: it is not empty.
    """
    if root.exists() and any(root.iterdir()):
        raise DatasetError(f"{root} is not empty; name a new folder")


def write_all(
    write: Callable[[int], None], total: int, *, workers: int | None, on_frame: Callable[[int], None] | None
) -> None:
    """Call `write` with every index below `total`, in processes of their own.

    Args:
        write: importable there, as a function of a module or a `partial` of one.
        workers: processes; as many as cores if None.
        on_frame: called with the number of frames done.
    """
    # spawned, not forked: a fork of a process with threads may inherit a lock that nobody will release
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers or len(os.sched_getaffinity(0)), mp_context=context) as pool:
        for done, _ in enumerate(pool.map(write, range(total), chunksize=_SHARE), start=1):
            if on_frame is not None:
                on_frame(done)


def write_lists(folder: Path, splits: dict[str, list[str]]) -> None:
    """Write the names of each split's frames to `SPLIT.txt`; last, so that a folder cut short cannot be read."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, names in splits.items():
        (folder / f"{split}.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
