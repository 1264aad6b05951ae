"""The proposal as files: `dataset.yaml` and a table for every split."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from geminifusion_model.data.image_files import read_rgb
from geminifusion_model.data.proposal.files import image_files
from geminifusion_model.data.proposal.frames import NoFramesError, propose_frames
from geminifusion_model.data.proposal.labels import LabelsError, propose_labels
from geminifusion_model.data.proposal.modalities import ModalityError, propose_modality
from geminifusion_model.data.sample import DatasetError
from geminifusion_model.data.task_files import CONTRACT_NAME
from geminifusion_model.yaml_files import quoted


@dataclass(frozen=True)
class Proposal:
    """What would be written into the folder.

    Args:
        files: contents by name.
        frames: their number by split.
        notes: what was guessed, for the user to check.
    """

    files: Mapping[str, str]
    frames: Mapping[str, int]
    notes: tuple[str, ...]


def propose(root: Path) -> Proposal:
    """A contract and tables for the images in `root`.

    Raises:
        DatasetError: there is a contract already, or the images cannot be told apart; the message says what to do.
    """
    if (root / CONTRACT_NAME).exists():
        raise DatasetError(
            f"{root / CONTRACT_NAME} exists; check it by `geminifusion data check {root}`, or move it away"
        )
    files, notes = image_files(root)
    try:
        found = propose_frames(files)
        every = [frame for frames in found.splits.values() for frame in frames]
        labels = propose_labels(root, [root / frame["labels"] for frame in every])
        size = read_rgb(root / every[0]["rgb"]).shape[:2]
        entries = {}
        for role in found.roles:
            paths = [root / frame[role] for frame in every if role in frame]
            entries[role], more = propose_modality(role, paths, (size[0], size[1]))
            notes += more
    except (NoFramesError, LabelsError, ModalityError) as error:
        raise DatasetError(f"{root}: {error}") from None
    tables = {f"{split}.csv": _table(frames, found.roles) for split, frames in found.splits.items()}
    if taken := [name for name in tables if (root / name).exists()]:
        raise DatasetError(f"{root / taken[0]} exists, and the proposal would write it; move it away")
    modalities = "".join(f"  {name}: {entry}\n" for name, entry in entries.items())
    contract = (
        "# Proposed by `geminifusion data init`; docs/guides/your-own-data.md explains every field.\n"
        f"name: {quoted(root.resolve().name)}\n"
        "license: not stated              # carried to the checkpoint and the artifact\n"
        f"classes:\n{labels.classes}\n"
        f"labels: {labels.scheme}\n"
        + (f"modalities:\n{modalities}" if modalities else "")
        + "splits:\n"
        + "".join(f"  {split}: {split}.csv\n" for split in found.splits)
    )
    counts = Counter({split: len(frames) for split, frames in found.splits.items()})
    return Proposal(
        files={CONTRACT_NAME: contract, **tables}, frames=counts, notes=(*notes, *found.notes, *labels.notes)
    )


def _table(frames: Sequence[Mapping[str, PurePosixPath]], roles: tuple[str, ...]) -> str:
    columns = ["rgb", "labels", *roles]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
    writer.writeheader()
    for frame in frames:
        writer.writerow({role: str(path) for role, path in frame.items()})
    return stream.getvalue()
