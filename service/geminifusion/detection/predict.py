"""`geminifusion predict` with a model for 3-D object detection: frames from files or folders, boxes to files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import click

from geminifusion_runtime import strict_json
from geminifusion_runtime.png_encoder import encode_png

from ..errors import InvalidInputError
from ..predict_files import FilesPlan, Formats

PARTS: Final = ("rgb", "points", "calibration")
_SUFFIXES = {
    "rgb": (".png", ".jpg", ".jpeg", ".webp"),
    "points": (".bin", ".npy"),
    "calibration": (".txt", ".json"),
}
FORMATS: Final[Formats] = {
    "overlay": ("_boxes.png", lambda result, path: path.write_bytes(encode_png(result.draw()))),
    "bev": ("_bev.png", lambda result, path: path.write_bytes(encode_png(result.draw_from_above()))),
    "kitti": (".txt", lambda result, path: path.write_text(result.kitti_text(), encoding="utf-8")),
    "json": (
        ".json",
        lambda result, path: path.write_text(strict_json.dumps(result.document(), indent=2) + "\n", encoding="utf-8"),
    ),
}
DEFAULT_FORMATS: Final = ("overlay", "bev", "kitti")


def predict_boxes(plan: FilesPlan) -> None:
    """Find boxes and write them; prints the table of a single frame, and counts for more.

    Raises:
        ClientError, GeminiFusionError: an input, the output or the server cannot be used.
    """
    plan.check_formats(FORMATS, "boxes")
    frames = list(_frames(plan.inputs))[: plan.limit]
    plan.output.mkdir(parents=True, exist_ok=True)
    num_boxes = 0
    with plan.opened("detect") as detect:
        for paths in frames:
            result = detect(*(paths[name] for name in PARTS))
            num_boxes += len(result)
            plan.write(result, paths["rgb"].stem, FORMATS, alone=len(frames) == 1)
    if len(frames) > 1:
        click.echo(
            f"{num_boxes} boxes in {len(frames)} frames; wrote {len(frames) * len(plan.formats)} files in {plan.output}"
        )


def _frames(inputs: Mapping[str, Path]) -> Iterator[dict[str, Path]]:
    """The three files of each frame.

    Raises:
        InvalidInputError: an input is missing, or a frame lacks a file.
    """
    for name in PARTS:
        if name not in inputs:
            raise InvalidInputError(
                f"{name} is missing; give an image, and the others with --input points=FILE --input calibration=FILE"
            )
    if not any(path.is_dir() for path in inputs.values()):
        yield dict(inputs)
        return
    found = {name: _files(inputs[name], _SUFFIXES[name]) for name in PARTS}
    if not found["rgb"]:
        raise InvalidInputError(f"{inputs['rgb']} holds no images; give a folder of PNG, JPEG or WebP files")
    for stem in sorted(found["rgb"]):
        for name in PARTS:
            if stem not in found[name]:
                raise InvalidInputError(
                    f"frame {stem} has no {name} in {inputs[name]}; expected {stem}{' or '.join(_SUFFIXES[name])}"
                )
        yield {name: found[name][stem] for name in PARTS}


def _files(path: Path, suffixes: Sequence[str]) -> dict[str, Path]:
    """The files of a folder by their stems; a file of its own is one of every frame's."""
    if path.is_file():
        raise InvalidInputError(f"{path} is a file and others are folders; give three files or three folders")
    return {one.stem: one for one in sorted(path.iterdir()) if one.suffix.lower() in suffixes}
