"""The verification as one self-contained HTML page: verdict, tables, and each backend's labels on the golden frames."""

from __future__ import annotations

import base64
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from geminifusion_export.errors import ExportError
from geminifusion_export.verification.certificate import Certificate, Verification, machine_facts
from geminifusion_export.verification.tasks import VERIFICATIONS
from geminifusion_runtime.artifact import ArtifactMetadata, SegmentationMetadata
from geminifusion_runtime.backends.protocol import GraphOutputs
from geminifusion_runtime.golden_set import ReferenceBatch

REPORT_NAME = "verification.html"

_TEMPLATE = "html_report.html.jinja"
_Image = NDArray[np.uint8]  # H W, or H W 3 in RGB
_UNLABELED = (70, 70, 70)
_DISAGREES = (230, 40, 40)


class _Figure(NamedTuple):
    caption: str
    png: str  # base64


def write_report(
    path: Path, verification: Verification, metadata: ArtifactMetadata, *, of_this_machine: bool = True
) -> None:
    """Write `html_report` to a file."""
    path.write_text(html_report(verification, metadata, of_this_machine=of_this_machine), encoding="utf-8")


def html_report(verification: Verification, metadata: ArtifactMetadata, *, of_this_machine: bool = True) -> str:
    """The page; golden frames are drawn if OpenCV is installed.

    Args:
        of_this_machine: say which machine verified it and when; not in an artifact, which says nothing of the machine
            that made it and is the same every time.

    Raises:
        ExportError: Jinja2 is not installed.
    """
    try:
        import jinja2
    except ImportError:
        raise ExportError('Jinja2 is not installed; run: pip install "geminifusion[export]"') from None
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(_TEMPLATE).render(
        certificate=verification.certificate,
        metadata=metadata,
        columns=VERIFICATIONS[metadata.task].columns,
        cells=VERIFICATIONS[metadata.task].cells,
        frames=_frames(verification, metadata),
        of_this_machine=of_this_machine,
        facts=_facts(verification.certificate, of_this_machine=of_this_machine),
    )


def _facts(certificate: Certificate, *, of_this_machine: bool) -> dict[str, str]:
    return {
        **(machine_facts(certificate.machine) if of_this_machine else {}),
        "packages": ", ".join(f"{name} {version}" for name, version in certificate.packages.items()),
        "exported at commit": certificate.commit or "unknown",
        **{f"SHA-256 of {name}": value for name, value in certificate.hashes.items()},
    }


def _frames(verification: Verification, metadata: ArtifactMetadata) -> list[list[_Figure]] | None:
    """A row of figures for each golden frame; None where there are some but OpenCV is missing."""
    if not verification.golden or metadata.golden is None:
        return []
    if importlib.util.find_spec("cv2") is None:
        return None
    if not isinstance(metadata, SegmentationMetadata):  # whose classes have colors to be drawn in
        return []
    palette = np.array(metadata.palette(), np.uint8)
    batches = [batch for batch in verification.golden if isinstance(batch, ReferenceBatch)]
    return [_row(index, batch, verification.outputs, palette) for index, batch in enumerate(batches)]


def _row(
    index: int, batch: ReferenceBatch, outputs: Mapping[str, Sequence[GraphOutputs]], palette: _Image
) -> list[_Figure]:
    wanted = np.asarray(batch.outputs["labels"][0], np.uint8)
    figures = [_figure(name, _sensor_image(values[0])) for name, values in batch.inputs.items()]
    if batch.truth is not None:
        figures.append(_figure("truth", _colored(batch.truth[0], palette)))
    figures.append(_figure("torch", _colored(wanted, palette)))
    for name, frames in outputs.items():
        found = np.asarray(frames[index]["labels"][0], np.uint8)
        image = _colored(found, palette)
        image[found != wanted] = _DISAGREES
        figures.append(_figure(f"{name}: {int((found != wanted).sum())} pixels differ", image))
    return figures


def _sensor_image(values: NDArray[np.generic]) -> _Image:
    """An image as it is, or distances from near (dark) to far, with black where nothing was measured."""
    if values.dtype == np.uint8:
        return np.asarray(values, np.uint8)
    meters = np.nan_to_num(np.asarray(values, np.float32), posinf=0.0, neginf=0.0)
    farthest = float(meters.max()) or 1.0
    return np.where(meters > 0, 40 + 215 * meters / farthest, 0).astype(np.uint8)


def _colored(labels: _Image, palette: _Image) -> _Image:
    colors = np.full((256, 3), _UNLABELED, np.uint8)
    colors[: len(palette)] = palette
    return np.asarray(colors[labels], np.uint8)


def _figure(caption: str, image: _Image) -> _Figure:
    import cv2

    stored = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    done, encoded = cv2.imencode(".png", stored)
    assert done  # any uint8 image can be written as PNG
    return _Figure(caption, base64.b64encode(encoded.tobytes()).decode("ascii"))
