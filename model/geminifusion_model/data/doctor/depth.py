"""Checks of depth and other sensors against their contract: values within the range, with a spread, in every frame."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from geminifusion_model.data.doctor.findings import Finding
from geminifusion_model.data.doctor.traits import FrameTraits
from geminifusion_model.data.input_statistics import describe_inputs, pooled
from geminifusion_model.task import ModalityEncoding, Task

_FACTORS = (1e-3, 1e-2, 0.1, 0.2, 0.25, 4.0, 5.0, 10.0, 100.0, 1000.0)  # ratios of units in use
_SPLIT_RATIO = 3.0
_FRAME_RATIO = 4.0
_FEWEST_MEASURED = 0.05


def check_depth(frames_by_split: Mapping[str, Sequence[FrameTraits]], task: Task) -> list[Finding]:
    """Wrong units of splits and of single frames, and frames without depth."""
    findings: list[Finding] = []
    for modality in task.modalities[1:]:
        if modality.unit == "metre":
            findings += _units(frames_by_split, modality)
        units_wrong = {finding.split for finding in findings}
        for split, frames in frames_by_split.items():
            findings += _empty(split, frames, modality.name)
            if split not in units_wrong:
                findings += _as_seen(split, frames, modality)
    return findings


def _as_seen(split: str, frames: Sequence[FrameTraits], modality: ModalityEncoding) -> list[Finding]:
    """A modality that its encoding clips away, or leaves without contrast."""
    seen = [f.readings[modality.name] for f in frames]
    varied = [reading.inputs for reading in seen if reading.inputs is not None and not reading.constant]
    if not varied:
        return []  # found by `_empty`
    problem = describe_inputs(modality.name, pooled(varied), modality)
    if problem is None:
        return []
    message, _, advice = problem.partition("; ")
    return [Finding(severity="error", code="input-range", split=split, message=message, advice=advice)]


def _units(frames_by_split: Mapping[str, Sequence[FrameTraits]], modality: ModalityEncoding) -> list[Finding]:
    name, findings = modality.name, []
    medians = {
        split: {f.name: f.readings[name].median for f in frames if f.readings[name].measured > 0}
        for split, frames in frames_by_split.items()
    }
    typical_m = _typical_m(modality)
    wrong: set[str] = set()
    for split, by_frame in medians.items():
        if not by_frame:
            continue
        found_m = float(np.median(list(by_frame.values())))
        outside = float(np.mean([f.readings[name].outside for f in frames_by_split[split]]))
        ratio = found_m / typical_m
        if max(ratio, 1 / ratio) > _SPLIT_RATIO or outside > 0.5:
            wrong.add(split)
            findings.append(
                Finding(
                    severity="error",
                    code="depth-unit",
                    split=split,
                    message=f"{name} has a median of {found_m:.3g} m, {typical_m:.3g} m is typical of this contract; "
                    f"{outside:.0%} of its pixels are outside {modality.range[0]:g}…{modality.range[1]:g} m",
                    advice=f"metres per stored unit look {_guess(ratio)}; correct the unit, or range, mean and std",
                )
            )
    rest = [m for split, by_frame in medians.items() if split not in wrong for m in by_frame.values()]
    if not rest:
        return findings
    center = float(np.median(np.log(rest)))
    spread = 1.4826 * float(np.median(np.abs(np.log(rest) - center)))
    allowed = max(math.log(_FRAME_RATIO), 5.0 * spread)
    for split, by_frame in medians.items():
        if split in wrong:
            continue
        odd = {frame: m for frame, m in by_frame.items() if abs(math.log(m) - center) > allowed}
        if odd:
            ratios = [m / math.exp(center) for m in odd.values()]
            findings.append(
                Finding(
                    severity="error",
                    code="depth-unit",
                    split=split,
                    frames=tuple(odd),
                    message=f"median {name} of {min(odd.values()):.3g} to {max(odd.values()):.3g} m, where "
                    f"{math.exp(center):.3g} m is typical",
                    advice=f"metres per stored unit of these frames look {_guess(float(np.median(ratios)))}; "
                    "convert them again",
                )
            )
    return findings


def _typical_m(modality: ModalityEncoding) -> float:
    """The contract's mean, converted back to metres."""
    mean = modality.mean[0]
    return {"inverse": 1.0 / mean, "log": math.exp(mean)}.get(modality.encoding, mean) if mean else 1.0


def _guess(ratio: float) -> str:
    factor = min(_FACTORS, key=lambda f: abs(math.log(ratio / f)))
    return f"{factor:g} times too large" if factor > 1 else f"{1 / factor:g} times too small"


def _empty(split: str, frames: Sequence[FrameTraits], modality: str) -> list[Finding]:
    findings = []
    sparse = tuple(f.name for f in frames if f.readings[modality].measured < _FEWEST_MEASURED)
    if sparse:
        findings.append(
            Finding(
                severity="warning",
                code="no-measurement",
                split=split,
                frames=sparse,
                message=f"less than {_FEWEST_MEASURED:.0%} of the pixels have {modality}",
                advice=f"if it was not measured there, train with modality dropout (noise.missing.{modality}), so that "
                "the network can do without; if it was, write these files again from the source",
            )
        )
    constant = tuple(f.name for f in frames if f.readings[modality].constant)
    if constant:
        findings.append(
            Finding(
                severity="error" if len(constant) == len(frames) else "warning",
                code="constant-values",
                split=split,
                frames=constant,
                message=f"all {modality} values of a frame are the same",
                advice=f"the {modality} files hold no image; write them again from the source",
            )
        )
    return findings
