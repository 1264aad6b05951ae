"""The golden set: frames shipped inside an artifact with torch's answers, so that it can be verified anywhere.

Layout of the `.npz`: every modality by its graph input name, `frames H W` or `frames H W 3`, raw as the graph takes it;
`labels` uint8 `frames H W`, `confidence` and `gate` float32 `frames ⌈H/4⌉ ⌈W/4⌉` as torch answered; `truth` uint8
`frames H W` where it is known, the ignore value elsewhere; `notices` the licences' texts, UTF-8 as uint8.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geminifusion_export.runtimes import Answers, Runtime
from geminifusion_export.verification.comparison import Expected, Feeds, mean_iou
from geminifusion_runtime.artifact import ArtifactError, ArtifactMetadata, GoldenSet

GOLDEN_NAME = "golden.npz"
_ANSWERS = ("labels", "confidence", "gate")


@dataclass(frozen=True, kw_only=True)
class GoldenFrames:
    """Frames of one size, before anything has answered them.

    Args:
        feeds: modalities by graph input name, `frames H W [3]`.
        truth: `frames H W` uint8 class indices, or None if no pixel of any frame is labelled.
        source: where they come from, in words.
        license: terms under which they may be passed on.
        notices: texts that those terms want to travel with the frames.
    """

    feeds: Feeds
    truth: NDArray[np.uint8] | None
    source: str
    license: str
    notices: str = ""

    def __len__(self) -> int:
        return len(next(iter(self.feeds.values())))


def write_golden(path: Path, frames: GoldenFrames, reference: Runtime, num_classes: int) -> GoldenSet:
    """Ask the reference about every frame, one by one, and write frames and answers; the same bytes each time.

    Returns:
        The metadata's entry; its `file` is the name of `path`.
    """
    answers = [reference.run(_frame(frames.feeds, index)) for index in range(len(frames))]
    joined = {name: np.concatenate([getattr(entry, name) for entry in answers]) for name in _ANSWERS}
    miou = None
    if frames.truth is not None and (frames.truth < num_classes).any():
        joined["truth"] = frames.truth
        miou = mean_iou([(frames.truth, joined["labels"])], num_classes)
    joined["notices"] = np.frombuffer(frames.notices.encode(), np.uint8)
    np.savez_compressed(path, allow_pickle=False, **dict(frames.feeds), **joined)
    return GoldenSet(file=path.name, frames=len(frames), source=frames.source, license=frames.license, miou=miou)


def read_golden(directory: Path, metadata: ArtifactMetadata) -> tuple[Expected, ...]:
    """The frames and torch's answers, each frame a batch of one; empty if the artifact has no golden set.

    Raises:
        ArtifactError: the file lacks an array, or one has another shape or type than the metadata asks for.
    """
    if metadata.golden is None:
        return ()
    path = directory / metadata.golden.file
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ArtifactError(f"{path} cannot be read ({error}); export the artifact again") from None
    count = metadata.golden.frames
    rgb = arrays.get("rgb")
    height, width = rgb.shape[1:3] if rgb is not None and rgb.ndim == 4 else (0, 0)
    quarter = (count, -(-height // 4), -(-width // 4))
    wanted = {
        modality.name: ((count, height, width) + ((3,) if modality.channels == 3 else ()), modality.dtype)
        for modality in metadata.modalities
    }
    wanted |= {"labels": ((count, height, width), "uint8")}
    wanted |= {"confidence": (quarter, "float32"), "gate": (quarter, "float32")}
    if "truth" in arrays:
        wanted["truth"] = ((count, height, width), "uint8")
    for name, (shape, dtype) in wanted.items():
        found = arrays.get(name)
        if found is None or found.shape != shape or found.dtype != dtype:
            what = "nothing" if found is None else f"{found.dtype} {found.shape}"
            raise ArtifactError(f"{path} holds {what} as {name}, expected {dtype} {shape}; export the artifact again")
    return tuple(
        Expected(
            _frame({modality.name: arrays[modality.name] for modality in metadata.modalities}, index),
            Answers(*(arrays[name][index : index + 1] for name in _ANSWERS)),
            arrays["truth"][index : index + 1] if "truth" in arrays else None,
        )
        for index in range(count)
    )


def _frame(feeds: Feeds, index: int) -> Feeds:
    return {name: array[index : index + 1] for name, array in feeds.items()}
