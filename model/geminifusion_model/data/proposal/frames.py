"""Files paired to frames, and frames to splits."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from geminifusion_model.data.proposal.files import ImageFile

_FEWEST_PAIRED = 0.5  # of the smaller number of files
_HOW = (
    "names without their suffix", "names without the sensor's word", "the numbers in their names",
    "names without their suffix", "the numbers in their names",
)  # fmt: skip
_TEST_SHARE = 5  # one of so many frames, where no folder says which are for the test


@dataclass(frozen=True)
class ProposedFrames:
    """Frames by split; each has the paths of its files by role.

    Args:
        roles: besides `rgb` and `labels`, the modalities that were found.
        notes: what was guessed, for the user to check.
    """

    splits: Mapping[str, Sequence[Mapping[str, PurePosixPath]]]
    roles: tuple[str, ...]
    notes: tuple[str, ...]


class NoFramesError(ValueError):
    """The folder holds no frames that can be told; the message says what is missing."""


def propose_frames(files: Sequence[ImageFile]) -> ProposedFrames:
    """Pair labels and modalities with RGB files.

    Raises:
        NoFramesError: there are no RGB files or no labels, or nothing pairs them.
    """
    by_role: dict[str, list[ImageFile]] = defaultdict(list)
    for file in files:
        by_role[file.role].append(file)
    for role in ("rgb", "labels"):
        if not by_role[role]:
            found = ", ".join(f"{len(group)} {name}" for name, group in by_role.items() if group) or "no images at all"
            raise NoFramesError(
                f"no {role} images were found ({found}); call their folder {role}, for example, and name what is in it "
                "by the suffixes of images"
            )
    notes: list[str] = []
    by_role = {role: _one_variant(role, group, notes) for role, group in by_role.items() if group}
    rgb = by_role["rgb"]
    pairs: dict[str, dict[ImageFile, ImageFile]] = {}
    for role, group in by_role.items():
        if role == "rgb":
            continue
        found_pairs, how = _paired(rgb, group)
        if found_pairs is None:
            if role == "labels":
                raise NoFramesError(
                    f"nothing in the names pairs {len(rgb)} rgb files ({rgb[0].path}) with {len(group)} labels "
                    f"({group[0].path}); write a table by hand: rgb,labels and a line for every frame"
                )
            notes.append(f"{role}: {len(group)} files ({group[0].path} …) pair with no rgb file and are left out")
            continue
        pairs[role] = found_pairs
        notes.append(f"{role} is paired with rgb by {how}: {rgb[0].path} with {_first(found_pairs)}")
    labeled = [file for file in rgb if file in pairs["labels"]]
    if len(labeled) < len(rgb):
        notes.append(f"{len(rgb) - len(labeled)} rgb files have no labels and are left out")
    frames: dict[ImageFile, dict[str, PurePosixPath]] = {}
    for file in labeled:
        partners = {role: found[file].path for role, found in pairs.items() if file in found}
        frames[file] = {"rgb": file.path, **partners}
    roles = tuple(role for role in pairs if role != "labels")
    for role in roles:
        if absent := sum(role not in frame for frame in frames.values()):
            notes.append(f"{role} is missing in {absent} frames; their cells are empty, which means not measured")
    return ProposedFrames(_splits(frames, notes), roles, tuple(notes))


def _one_variant(role: str, files: Sequence[ImageFile], notes: list[str]) -> list[ImageFile]:
    """The files of a role; where several kinds show the same frames, the one that is least a picture for people."""
    variants: dict[frozenset[str], list[ImageFile]] = defaultdict(list)
    for file in files:
        variants[file.variant()].append(file)
    keys = [{(file.split, file.keys()[-1]) for file in group} for group in variants.values()]
    overlap = len(keys) > 1 and len(set.union(*keys)) < sum(map(len, keys))
    if not overlap:
        return list(files)
    chosen = min(variants.values(), key=lambda group: (group[0].is_for_people(), -len(group)))
    others = sum(map(len, variants.values())) - len(chosen)
    notes.append(
        f"{role}: {chosen[0].path} and {len(chosen) - 1} others are taken, {others} files of other kinds are not"
    )
    return chosen


def _first(pairs: Mapping[ImageFile, ImageFile]) -> PurePosixPath:
    return next(iter(pairs.values())).path


def _paired(rgb: Sequence[ImageFile], others: Sequence[ImageFile]) -> tuple[dict[ImageFile, ImageFile] | None, str]:
    """The partner of each RGB file by what their names have in common, or by their order if nothing is."""
    best: dict[ImageFile, ImageFile] = {}
    how = ""
    for number, described in enumerate(_HOW):
        mine = _by_key(rgb, number)
        theirs = _by_key(others, number)
        found = {file: theirs[key] for key, file in mine.items() if key in theirs}
        if len(found) > len(best):
            best, how = found, described
    if len(best) >= _FEWEST_PAIRED * min(len(rgb), len(others)):
        return best, how
    if len(rgb) == len(others):
        return dict(zip(rgb, others, strict=True)), "their order alone (a guess: look at a few)"
    return None, ""


def _by_key(files: Sequence[ImageFile], number: int) -> dict[tuple[str, str], ImageFile]:
    """Files by split and key, without those that share it with another."""
    keys = [(file.split or "", file.keys()[number]) for file in files]
    counts = Counter(keys)
    return {key: file for key, file in zip(keys, files, strict=True) if counts[key] == 1 and key[1].strip("/")}


def _splits(
    frames: Mapping[ImageFile, dict[str, PurePosixPath]], notes: list[str]
) -> dict[str, list[dict[str, PurePosixPath]]]:
    by_split: dict[str, list[dict[str, PurePosixPath]]] = defaultdict(list)
    for file, frame in frames.items():
        by_split[file.split or "train"].append(frame)
    if set(by_split) == {"train"} and len(by_split["train"]) > 1:
        everything = by_split["train"]
        kept = len(everything) - max(len(everything) // _TEST_SHARE, 1)
        by_split = defaultdict(list, train=everything[:kept], test=everything[kept:])
        notes.append(
            f"no folder says which frames are for the test: the last {len(everything) - kept} of {len(everything)} "
            "are; if several show one scene, keep them in one split"
        )
    if "train" not in by_split:
        first = next(iter(by_split))
        notes.append(f"no folder is called train, so {first} is trained on")
        by_split["train"] = by_split.pop(first)
    order = [name for name in ("train", "val", "test") if name in by_split]
    return {name: by_split[name] for name in order}
