"""The files bundled with the package: one trained model, real RGB-D pairs to try it on, and a rendered street."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

_HOME = Path(__file__).resolve().parent
_MODEL = "geminifusion-b0-nyu13"
_PAIRS = _HOME / "pairs"
_STREET = _HOME / "street"


class BundledArtifactMissingError(FileNotFoundError):
    """This copy of the package was built without the bundled model."""


@dataclass(frozen=True, kw_only=True)
class DemoPair:
    """A real photograph with the depth of the same pixels.

    `depth` is a 16-bit PNG whose values times `depth_scale` are metres, 0 being "no measurement".
    """

    name: str
    title: str
    rgb: Path
    depth: Path
    depth_scale: float
    source: str
    license: str
    license_file: Path


@dataclass(frozen=True, kw_only=True)
class DemoStreet:
    """A rendered frame: its image, KITTI's `.bin` of the points that are in the image, and KITTI's calibration."""

    name: str
    title: str
    rgb: Path
    points: Path
    calibration: Path
    license: str


def artifact_path() -> Path:
    """The directory of the bundled artifact.

    Raises:
        BundledArtifactMissingError: this copy of the package was built without it.
    """
    path = _HOME / "artifacts" / _MODEL
    if not path.is_dir():
        raise BundledArtifactMissingError(
            f"the bundled model is not in this copy of geminifusion ({path} is missing); "
            "install the package again or give the directory of an artifact of your own"
        )
    return path


def demo_pairs() -> dict[str, DemoPair]:
    """The bundled pairs by name, the one the demo shows first."""
    entries = json.loads((_PAIRS / "MANIFEST.json").read_text(encoding="utf-8"))
    return {
        entry["name"]: DemoPair(
            name=entry["name"],
            title=entry["title"],
            rgb=_PAIRS / entry["rgb"],
            depth=_PAIRS / entry["depth"],
            depth_scale=entry["depth_scale"],
            source=entry["source"],
            license=entry["license"],
            license_file=_PAIRS / entry["license_file"],
        )
        for entry in entries
    }


def demo_street() -> DemoStreet:
    """The bundled frame for a detector."""
    return DemoStreet(
        name="street",
        title="A street: boxes rendered by a ray caster, seen by a camera and a LiDAR",
        rgb=_STREET / "street.rgb.jpg",
        points=_STREET / "street.points.bin",
        calibration=_STREET / "street.calibration.txt",
        license="Apache-2.0",
    )
