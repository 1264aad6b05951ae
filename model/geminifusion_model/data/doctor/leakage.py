"""Checks for frames that occur in more than one split, exactly or nearly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from geminifusion_model.data.doctor.findings import Finding
from geminifusion_model.data.doctor.traits import FrameTraits

_SAME_IMAGE = 0.985  # correlation of thumbnails; the same image compressed or scaled again
_SAME_VIEW = 0.96  # consecutive frames of a video

_SEPARATE = "remove them from one split: scores on seen frames mean nothing"


def check_leakage(frames_by_split: Mapping[str, Sequence[FrameTraits]]) -> list[Finding]:
    """Exact duplicates within and between splits, near duplicates (also mirrored) between splits."""
    findings: list[Finding] = []
    for split, frames in frames_by_split.items():
        findings += _repeated(split, frames)
    for (one, first), (other, second) in combinations(frames_by_split.items(), 2):
        if first and second:
            findings += _shared(f"{one}+{other}", first, second)
    return findings


def _repeated(split: str, frames: Sequence[FrameTraits]) -> list[Finding]:
    seen: dict[bytes, str] = {}
    copies = [f"{seen[f.rgb_digest]} = {f.name}" for f in frames if seen.setdefault(f.rgb_digest, f.name) != f.name]
    if not copies:
        return []
    return [
        Finding(
            severity="warning",
            code="duplicate",
            split=split,
            frames=tuple(copies),
            message="pixel for pixel the same image",
            advice="remove one of each, unless frames are repeated on purpose",
        )
    ]


def _shared(both: str, first: Sequence[FrameTraits], second: Sequence[FrameTraits]) -> list[Finding]:
    names: dict[bytes, str] = {f.rgb_digest: f.name for f in first}
    exact = [f"{names[f.rgb_digest]} = {f.name}" for f in second if f.rgb_digest in names]
    findings = []
    if exact:
        findings.append(
            Finding(
                severity="error",
                code="leakage",
                split=both,
                frames=tuple(exact),
                message="pixel for pixel the same image in both splits",
                advice=_SEPARATE,
            )
        )
    exact_second = {f.rgb_digest for f in second if f.rgb_digest in names}
    others = [f for f in second if f.rgb_digest not in exact_second]
    if not others:
        return findings
    known = np.stack([f.thumbnail.ravel() for f in first])
    plain = known @ np.stack([f.thumbnail.ravel() for f in others]).T
    mirrored = known @ np.stack([f.thumbnail[:, ::-1].ravel() for f in others]).T
    likeness = np.maximum(plain, mirrored)
    for severity, low, high, code, message in (
        (
            "error",
            _SAME_IMAGE,
            np.inf,
            "leakage",
            "almost the same image, perhaps compressed again or mirrored",
        ),
        (
            "warning",
            _SAME_VIEW,
            _SAME_IMAGE,
            "near-duplicate",
            "images so alike that they may show one view",
        ),
    ):
        best, column = likeness.argmax(axis=0), np.arange(len(others))
        hits = [
            f"{first[int(best[j])].name} ~ {others[int(j)].name}" for j in column if low <= likeness[best[j], j] < high
        ]
        if hits:
            findings.append(
                Finding(
                    severity="error" if severity == "error" else "warning",
                    code=code,
                    split=both,
                    frames=tuple(hits),
                    message=message,
                    advice=_SEPARATE if severity == "error" else "keep recordings of one place in one split",
                )
            )
    return findings
