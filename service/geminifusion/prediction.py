"""Behind `geminifusion predict`: an image of each modality in, the requested files out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from geminifusion_runtime import strict_json

from .results import Result


def segment_files(
    images: Mapping[str, Path], *, artifact: Path | None, url: str | None, options: Mapping[str, Any]
) -> Result:
    """Segment a scene on the server at `url`, or in this process with the artifact (None: the bundled one).

    Args:
        images: files by modality.
        artifact: directory of an artifact.
        url: address of a server.
        options: those of the request; without a server those that say what the images mean.
    """
    arguments: dict[str, Any] = {**images, **options}
    if url:
        from .client import Client

        with Client(url) as client:
            return client.segment(**arguments)
    from .local import load

    return load(artifact)(**arguments)


def write_formats(
    result: Result, formats: Iterable[str], directory: Path, stem: str, overlay_on: str | None = None
) -> list[Path]:
    """Write the result in each format as `directory/stem_….…`; the paths written.

    `palette` is an indexed PNG in the class colors, `overlay` the tinted image, `png` the bare class indices, `npz`
    the labels with all maps, `json` everything but the pixels; `ply`, `pcd` and `cloud-npz` the points, for which depth
    and the intrinsics of its camera are needed. `overlay_on` is the modality that is tinted; see
    `Result.overlay`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for name in dict.fromkeys(formats):
        match name:
            case "palette":
                path = result.save(directory / f"{stem}_mask.png")
            case "overlay":
                path = result.save_overlay(directory / f"{stem}_overlay.png", on=overlay_on)
            case "png":
                path = directory / f"{stem}_labels.png"
                path.write_bytes(result.indices_png())
            case "npz":
                path = result.save(directory / f"{stem}.npz")
            case "ply" | "pcd":
                path = result.save_pointcloud(directory / f"{stem}.{name}")
            case "cloud-npz":
                path = result.save_pointcloud(directory / f"{stem}_cloud.npz")
            case "json":
                path = directory / f"{stem}.json"
                path.write_text(_summary(result), encoding="utf-8")
            case _:
                raise ValueError(f"{name!r} is no format; use palette, overlay, png, npz, json, ply, pcd or cloud-npz")
        written.append(path)
    return written


def _summary(result: Result) -> str:
    height, width = result.labels.shape
    summary = {
        "model": result.model,
        "size": {"height": height, "width": width},
        "classes": [dataclasses.asdict(share) for share in result.classes],
        "timings_ms": dict(result.timings_ms),
        "warnings": list(result.warnings),
        "request_id": result.request_id,
    }
    return strict_json.dumps(summary, indent=2) + "\n"
