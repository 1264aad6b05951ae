"""Checks that the images of one frame belong together: their outlines agree better than those of different frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from geminifusion_model.data.doctor.findings import Finding
from geminifusion_model.data.doctor.traits import FrameTraits

_FEWEST = 4  # frames to compare with each other
_BLOCK = 800  # frames compared with each other at a time; bounds memory at about 60 MB a modality
_GAIN = 1.2  # of an exchange, in units of the typical gap between matching and other pairs
_NEIGHBORS = (-3, -2, -1, 1, 2, 3)
_MISALIGNED_PX = 3  # of the edge maps, 2 % of the width

Matrix = NDArray[np.float64]


def check_pairs(split: str, frames: Sequence[FrameTraits]) -> list[Finding]:
    """Swapped, displaced and copied images, for each role in a frame."""
    if len(frames) < _FEWEST:
        return []
    findings = _copies(split, frames)
    roles = list(frames[0].edges)
    suspects: dict[tuple[int, int], tuple[float, str]] = {}
    for begin in range(0, len(frames), _BLOCK):
        # the last block is filled up from its left so that it is not too small to compare
        begin = max(0, min(begin, len(frames) - _BLOCK))
        block = frames[begin : begin + _BLOCK]
        maps = {role: np.stack([frame.edges[role].ravel() for frame in block]) for role in roles}
        for role in roles:
            agreement = _agreement(maps, role)
            step = _constant_step(agreement)
            if step:
                findings.append(_displaced(split, role, step))
                return findings
            for (i, j), gain in _exchanges(agreement).items():
                pair = (begin + i, begin + j)
                # a swapped depth also makes the RGB look swapped, but less so
                if gain > suspects.get(pair, (0.0, ""))[0]:
                    suspects[pair] = (gain, role)
    findings += [
        Finding(
            severity="error",
            code="swapped-pair",
            split=split,
            frames=(frames[i].name, frames[j].name),
            message=f"the {role} of each fits the other frame better than its own",
            advice=f"look at both frames; exchange their {role} files, or remove both",
        )
        for (i, j), (_, role) in sorted(suspects.items())
    ]
    return findings + _misaligned(split, frames, roles)


def _agreement(maps: dict[str, NDArray[np.float32]], role: str) -> Matrix:
    """Entry (i, j): how well the `role` of frame j fits everything else in frame i, -1…1."""
    others = [values for name, values in maps.items() if name != role]
    anchor = np.mean(others, axis=0, dtype=np.float32)
    return (anchor @ maps[role].T).astype(np.float64)


def _levels(agreement: Matrix) -> tuple[float, float]:
    """The typical agreement of matching pairs and of all others."""
    off = agreement[~np.eye(len(agreement), dtype=bool)]
    return float(np.median(np.diag(agreement))), float(np.median(off))


def _exchanges(agreement: Matrix) -> dict[tuple[int, int], float]:
    """Pairs of frames that would both gain from an exchange, with the gain of both together."""
    match, other = _levels(agreement)
    gap, middle = match - other, (match + other) / 2
    if gap <= 0:
        return {}
    own = np.diag(agreement)
    gain = agreement + agreement.T - own[:, None] - own[None]
    bad = own < middle
    fits = (gain > _GAIN * gap) & bad[:, None] & bad[None] & (agreement > middle) & (middle < agreement.T)
    best = np.where(fits, gain, -np.inf).argmax(axis=1)
    return {(i, int(j)): float(gain[i, j]) / gap for i, j in enumerate(best) if i < j and fits[i, j] and best[j] == i}


def _constant_step(agreement: Matrix) -> int:
    """Number of places in the list by which all frames are displaced; 0 if they are not."""
    match, other = float(np.diag(agreement).mean()), _levels(agreement)[1]
    at = {step: float(np.diag(agreement, step).mean()) for step in _NEIGHBORS if abs(step) < len(agreement) - 2}
    best = max(at, key=lambda step: at[step], default=0)
    # neighbors in a video look alike, so they have to fit clearly better
    return best if best and at[best] - other > 2.0 * max(match - other, 0.02) else 0


def _displaced(split: str, role: str, step: int) -> Finding:
    side = "before" if step > 0 else "after"
    return Finding(
        severity="error",
        code="displaced-list",
        split=split,
        message=f"in most frames the {role} fits the image {abs(step)} {side} it in the list",
        advice="a file is missing or extra near the start of the list; pair files by name, not by position",
    )


def _copies(split: str, frames: Sequence[FrameTraits]) -> list[Finding]:
    """Different images with the very same measurements."""
    findings = []
    for modality in frames[0].readings:
        seen: dict[bytes, FrameTraits] = {}
        for frame in frames:
            reading = frame.readings[modality]
            first = seen.setdefault(reading.digest, frame)
            if first.rgb_digest != frame.rgb_digest and not reading.constant and reading.measured > 0:
                findings.append(
                    Finding(
                        severity="error",
                        code="copied-pair",
                        split=split,
                        frames=(first.name, frame.name),
                        message=f"both have exactly the same {modality} but different images",
                        advice=f"one {modality} file was overwritten; restore it, or remove the frame",
                    )
                )
    return findings


def _misaligned(split: str, frames: Sequence[FrameTraits], roles: list[str]) -> list[Finding]:
    """A shift of a modality against labels and RGB that is the same in all frames."""
    findings = []
    for role in roles:
        if role == "rgb":
            continue
        height, width = frames[0].edges["rgb"].shape
        total = np.zeros((height, width // 2 + 1), np.complex128)
        for frame in frames:
            total += np.fft.rfft2(frame.edges["rgb"]) * np.conj(np.fft.rfft2(frame.edges[role]))
        correlation = np.fft.irfft2(total, s=(height, width))
        reach = width // 8
        near = np.roll(correlation, (reach, reach), axis=(0, 1))[: 2 * reach + 1, : 2 * reach + 1]
        y, x = (int(v) - reach for v in np.unravel_index(near.argmax(), near.shape))
        if max(abs(x), abs(y)) >= _MISALIGNED_PX and near.max() > 1.2 * max(correlation[0, 0], 0.0):
            findings.append(
                Finding(
                    severity="warning",
                    code="misaligned",
                    split=split,
                    message=f"moved by {100 * x / width:+.0f} % of the width and {100 * y / height:+.0f} % of the "
                    f"height, the {role} would fit the rgb better in most frames",
                    advice=f"register the {role} to the color camera before use",
                )
            )
    return findings
