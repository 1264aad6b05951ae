"""Data sets by the name of their layout."""

from __future__ import annotations

from pathlib import Path

from geminifusion_model.data.dataset_names import DATASETS
from geminifusion_model.data.deliver import SPLITS, deliver
from geminifusion_model.data.depth_encodings import DEPTH_ENCODINGS
from geminifusion_model.data.folder import folder_dataset, folder_splits
from geminifusion_model.data.hha import WithHHA
from geminifusion_model.data.list_files import nyuv2_lists, sunrgbd
from geminifusion_model.data.nyuv2 import NYU_CAMERA, NYUv2
from geminifusion_model.data.sample import Dataset, DatasetError
from geminifusion_model.data.task_files import CONTRACT_NAME


def open_dataset(
    kind: str,
    root: Path | str,
    split: str,
    *,
    num_classes: int | None = None,
    modalities: tuple[str, ...] | None = None,
    encoding: str | None = None,
    metres_per_unit: float | None = None,
    limit: int | None = None,
) -> Dataset:
    """Open one split of a data set.

    Args:
        kind: one of `DATASETS`; the layouts are described in model/README.md.
        split: as the layout names it.
        num_classes: checked against the data set's; `nyuv2` has labels for 13 (the default) and 39.
        modalities: rgb, then any of those the data set has, in this order; all of them if None (for DeLiVER rgb and
            depth). Files of the others are not looked for.
        encoding: of the depth, one of `DEPTH_ENCODINGS`; the data set's own if None.
        metres_per_unit: for `nyuv2-lists` and `sunrgbd`, whose depth unit is written nowhere.
        limit: only the first frames.

    Raises:
        LayoutError: the files are not as the layout says; it names every problem.
        DatasetError: an argument does not fit this kind of data set.
    """
    if encoding is not None and encoding not in DEPTH_ENCODINGS:
        raise DatasetError(f"depth encoding is {encoding!r}; expected one of {', '.join(DEPTH_ENCODINGS)}")
    if metres_per_unit is not None and kind not in ("nyuv2-lists", "sunrgbd"):
        raise DatasetError(f"{kind} data says itself what its depth unit is; leave metres_per_unit out")
    rgbd = modalities or ("rgb", "depth")
    dataset: Dataset
    try:
        match kind:
            case "nyuv2":
                classes = 13 if num_classes is None else num_classes
                dataset = _nyuv2(root, split, classes, limit, encoding or "metric", rgbd)
            case "nyuv2-lists" | "sunrgbd":
                listed = nyuv2_lists if kind == "nyuv2-lists" else sunrgbd
                how = encoding or ("raw" if metres_per_unit is None else "metric")
                dataset = listed(
                    root,
                    split,
                    limit=limit,
                    encoding=how,
                    metres_per_unit=metres_per_unit,
                    modalities=rgbd,
                )
            case "deliver":
                dataset = deliver(root, split, modalities=rgbd, limit=limit)
            case "folder":
                dataset = folder_dataset(root, split, modalities=modalities, limit=limit)
            case _:
                raise DatasetError(f"there is no data set kind {kind!r}; the kinds are {', '.join(DATASETS)}")
    except DatasetError:
        raise
    except ValueError as error:
        raise DatasetError(str(error)) from None
    _check(kind, dataset, num_classes, encoding)
    return dataset


def kind_of(root: Path | str, given: str | None = None) -> str:
    """The layout of `root`: the given one, `folder` if it holds a `dataset.yaml`, or `nyuv2` if it has its lists.

    Raises:
        DatasetError: it is neither.
    """
    root = Path(root)
    if given is not None:
        return given
    if is_own_data(root):
        return "folder"
    if any((root / f"{split}.txt").is_file() for split in ("train", "test", "val")):
        return "nyuv2"
    raise DatasetError(
        f"{root} holds neither {CONTRACT_NAME}, which describes data of your own, nor train.txt of a known data set; "
        f"`geminifusion data init {root}` proposes a {CONTRACT_NAME}, or name the layout: --dataset "
        f"{', '.join(DATASETS[:-1])}"
    )


def is_own_data(root: Path | str, given: str | None = None) -> bool:
    """Whether a folder's contract says what its data is."""
    return given == "folder" or (given is None and (Path(root) / CONTRACT_NAME).is_file())


def usual_split(kind: str, root: Path | str) -> str:
    """The split to score: `test`, or the last one of a folder that has none of that name.

    Raises:
        LayoutError: a folder's contract cannot be read.
    """
    names = splits_of(kind, root)
    return "test" if "test" in names else names[-1]


def splits_of(kind: str, root: Path | str) -> tuple[str, ...]:
    """The splits a data set of this kind has, training first.

    Raises:
        LayoutError: a folder's contract cannot be read.
    """
    if kind == "folder":
        return folder_splits(root)
    if kind == "deliver":
        return SPLITS
    return ("train", "test")


def _nyuv2(
    root: Path | str, split: str, num_classes: int, limit: int | None, encoding: str, modalities: tuple[str, ...]
) -> Dataset:
    if encoding == "hha":
        return WithHHA(NYUv2(root, split, num_classes, limit, modalities=modalities), NYU_CAMERA)
    return NYUv2(root, split, num_classes, limit, encoding, modalities)


def _check(kind: str, dataset: Dataset, num_classes: int | None, encoding: str | None) -> None:
    task = dataset.task
    if num_classes not in (None, len(task.class_names)):
        raise DatasetError(
            f"{task.data} has {len(task.class_names)} classes, {num_classes} were asked for (network.num_classes); set "
            f"network.num_classes={len(task.class_names)}"
        )
    encodings = {modality.encoding for modality in task.modalities if modality.name != "rgb"}
    if encoding is not None and not encodings:
        raise DatasetError(f"depth encoding is {encoding!r}, but no depth is read; leave it out, or read depth as well")
    if encoding is not None and encoding not in encodings:
        raise DatasetError(f"the depth of {kind} data comes as {', '.join(sorted(encodings))}, not as {encoding}")
