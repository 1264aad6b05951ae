"""Depth is missing: is it better to do without it, to have a translator make it, or to send a learned constant?

    python benchmarks/translation/missing_sensor.py NYUV2 OUT
    python benchmarks/translation/missing_sensor.py NYUV2 OUT --synthesizer TO_DEPTH --prompt PROMPT.npy

NYUV2 is a folder in the NYUv2 layout (model/README.md), TO_DEPTH an exported translator of rgb to depth. Every test
frame goes through `geminifusion.load`, the code that serves, in these ways:

    intact       rgb and the measured depth
    without      rgb alone; the model was trained to do without depth
    synthesize   rgb alone with sensor_policy=synthesize
    mean-depth   rgb, and as depth the mean of the training frames, pixel by pixel: what is learned without a network
    prompt       rgb, and as depth the map of PROMPT.npy (`fit_prompt.py` beside this), the same for every frame

Prints mIoU with its interval, the paired differences from `without`, and the errors of the depth that was made. OUT
holds the confusion matrices of the frames that are done; the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geminifusion import load
from geminifusion.local import LocalModel
from geminifusion_model.data.nyuv2 import NYUv2
from geminifusion_model.data.sample import Sample
from geminifusion_model.evaluation.metrics import ConfusionMatrix
from geminifusion_runtime.artifact import sha256_of
from geminifusion_runtime.bundled import artifact_path

sys.path.insert(0, str(Path(__file__).parent.parent))
from machine import describe_machine
from paired_bootstrap import difference, drawn_mious, interval, mean_miou

Floats = NDArray[np.float32]
Labels = Callable[[Sample], NDArray[np.uint8]]
_NUM_CLASSES = 13
_SAVE_EVERY = 20
_BASELINE = "without"


@dataclass
class Arm:
    """One way to do without depth, with what is known of it so far."""

    name: str
    labels: Labels
    matrices: list[NDArray[np.int64]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def score(self, sample: Sample) -> None:
        """Segment one more frame."""
        started = time.perf_counter()
        found = self.labels(sample)
        self.seconds.append(time.perf_counter() - started)
        self.matrices.append(ConfusionMatrix(_NUM_CLASSES).add(sample.labels, found))

    def save(self, out: Path) -> None:
        """Write what is done, so that it is there in whole or not at all."""
        whole = out / f"{self.name}.tmp.npz"
        np.savez_compressed(whole, matrices=np.array(self.matrices), seconds=np.array(self.seconds))
        whole.replace(out / f"{self.name}.npz")

    def resume(self, out: Path) -> None:
        """Take up what an earlier run has done."""
        path = out / f"{self.name}.npz"
        if path.is_file():
            with np.load(path) as stored:
                self.matrices, self.seconds = list(stored["matrices"]), list(stored["seconds"])


def main() -> None:
    """Score all arms frame by frame, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--synthesizer", type=Path)
    parser.add_argument("--artifact", type=Path, help="the segmentation model; the bundled one by default")
    parser.add_argument("--prompt", type=Path)
    parser.add_argument("--limit", type=int, default=500, help="test frames")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    artifact = options.artifact or artifact_path()
    frames = NYUv2(options.data, "test", _NUM_CLASSES, options.limit)
    options.out.mkdir(parents=True, exist_ok=True)
    _check_plan(
        options.out / "plan.json",
        {
            "artifact": sha256_of(artifact / "metadata.json"),
            "synthesizer": sha256_of(options.synthesizer / "metadata.json") if options.synthesizer else None,
            "prompt": sha256_of(options.prompt) if options.prompt else None,
        },
    )
    model = load(artifact, threads=options.threads, synthesizer=options.synthesizer)
    translator = load(options.synthesizer, threads=options.threads) if options.synthesizer else None
    constants = {"mean-depth": _mean_depth(options.data, options.out / "mean_depth.npy")}
    if options.prompt:
        constants["prompt"] = np.load(options.prompt)
    arms = [
        Arm("intact", lambda sample: model(sample.rgb, sample.others["depth"], sensor_policy="warn").labels),
        Arm(_BASELINE, lambda sample: model(sample.rgb, sensor_policy="warn").labels),
        *(
            [Arm("synthesize", lambda sample: model(sample.rgb, sensor_policy="synthesize").labels)]
            if translator
            else []
        ),
        *(Arm(name, partial(_labels_with, model, depth)) for name, depth in constants.items()),
    ]
    for arm in arms:
        arm.resume(options.out)
    errors = _Errors(options.out / "depth_errors.npy")
    for index in range(len(frames)):
        waiting = [arm for arm in arms if len(arm.matrices) == index]
        makes = translator is not None and len(errors.rows) == index
        if not waiting and not makes:
            continue
        sample = frames[index]
        for arm in waiting:
            arm.score(sample)
        if translator is not None and makes:
            errors.add(translator.translate(sample.rgb).output, sample.others["depth"])
        if index % _SAVE_EVERY == _SAVE_EVERY - 1 or index == len(frames) - 1:
            for arm in arms:
                arm.save(options.out)
            errors.save()
            print(f"{index + 1} of {len(frames)} frames", file=sys.stderr, flush=True)
    print(describe_machine("onnxruntime"))
    print(f"{model.metadata.reference}, {len(frames)} test frames of {_size(frames)}, {options.threads} threads")
    _print_table(arms, len(frames))
    if translator is not None:
        reference, seen = translator.metadata.reference, translator.metadata.size.max_pixels
        print(f"{reference}, of images of at most {seen} pixels: {errors.describe(len(frames))}")


def _size(frames: NYUv2) -> str:
    """Width and height of the first frame."""
    height, width = frames[0].rgb.shape[:2]
    return f"{width}x{height}"


def _print_table(arms: list[Arm], count: int) -> None:
    stacks = {arm.name: np.array(arm.matrices[:count])[None] for arm in arms}
    print(f"{'':<12}{'mIoU':>7}  95 % interval    against {_BASELINE} (paired)       ms")
    for arm in arms:
        low, high = interval(drawn_mious(stacks[arm.name]))
        told = ""
        if arm.name != _BASELINE:
            against = difference(stacks[arm.name], stacks[_BASELINE])
            told = f"{against.miou:+.2f} [{against.low:+.2f}, {against.high:+.2f}] p {against.p_value:.4f}"
        milliseconds = 1000 * statistics.median(arm.seconds[:count])
        print(
            f"{arm.name:<12}{mean_miou(stacks[arm.name]):7.2f}  {low:.2f} to {high:.2f}  {told:<34}{milliseconds:6.0f}"
        )


def _labels_with(model: LocalModel, depth: Floats, sample: Sample) -> NDArray[np.uint8]:
    return model(sample.rgb, depth, sensor_policy="warn").labels


class _Errors:
    """Errors of the depth that was made, of every frame: absolute relative, squared in metres, within 1.25."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.rows: list[list[float]] = np.load(path).tolist() if path.is_file() else []

    def add(self, made: NDArray[np.generic], truth: Floats) -> None:
        measured = truth > 0
        found, wanted = made[measured].astype(np.float64), truth[measured].astype(np.float64)
        ratio = np.maximum(found / wanted, wanted / found)
        self.rows.append(
            [
                float(np.mean(np.abs(found - wanted) / wanted)),
                float(np.mean((found - wanted) ** 2)),
                float(np.mean(ratio < 1.25)),
            ]
        )

    def save(self) -> None:
        np.save(self._path, np.array(self.rows))

    def describe(self, count: int) -> str:
        relative, squared, near = np.array(self.rows[:count]).mean(0)
        return (
            f"AbsRel {relative:.3f}, RMSE {np.sqrt(squared):.3f} m, {100 * near:.1f} % within a "
            "factor of 1.25, of the pixels of each frame, averaged over frames"
        )


def _mean_depth(data: Path, path: Path) -> Floats:
    """Mean measured depth of the training frames, `H W` metres; kept at `path`."""
    if not path.is_file():
        frames = NYUv2(data, "train", _NUM_CLASSES)
        total, count = (np.zeros(frames[0].labels.shape) for _ in range(2))
        for index in range(len(frames)):
            depth = frames[index].others["depth"]
            total += depth
            count += depth > 0
        np.save(path, (total / np.maximum(count, 1)).astype(np.float32))
    found: Floats = np.load(path)
    return found


def _check_plan(path: Path, plan: Mapping[str, str | None]) -> None:
    """Refuse to go on with a run of other weights; what was left out may be added."""
    if path.is_file():
        known = json.loads(path.read_text())
        if any(None not in (known[name], one) and known[name] != one for name, one in plan.items()):
            raise SystemExit(f"{path.parent} holds a run of other weights; give another folder")
        plan = {name: one or known[name] for name, one in plan.items()}
    path.write_text(json.dumps(dict(plan), indent=2) + "\n")


if __name__ == "__main__":
    main()
