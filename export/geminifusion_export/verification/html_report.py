"""The verification as one HTML page that needs nothing beside it: verdict, tables, and what each runtime saw."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geminifusion_export.runtimes import Answers
from geminifusion_export.verification.certificate import Certificate, Section, machine_facts
from geminifusion_export.verification.comparison import Expected
from geminifusion_export.verification.verify_artifact import Recheck
from geminifusion_runtime.artifact import ArtifactMetadata, BackendReport

PAGE_NAME = "verification.html"

_Picture = NDArray[np.uint8]
_UNLABELLED = (70, 70, 70)
_DISAGREES = (230, 40, 40)
_HEAD = (
    "backend",
    "precision",
    "batch × H × W",
    "confidence: max",
    "mean",
    "gate: max",
    "mean",
    "labels equal",
    "mIoU",
    "torch",
)


def write_page(path: Path, recheck: Recheck, metadata: ArtifactMetadata) -> None:
    """Write the page; it takes OpenCV to draw the golden frames, which are left out where that is missing."""
    path.write_text(verification_page(recheck, metadata), encoding="utf-8")


def verification_page(recheck: Recheck, metadata: ArtifactMetadata) -> str:
    """The page as HTML."""
    certificate = recheck.certificate
    style = (files("geminifusion_export.verification") / "html_report.css").read_text(encoding="utf-8")
    title = f"Verification of {escape(certificate.reference)}"
    body = [
        f"<h1>{title}: <span class={certificate.verdict}>{certificate.verdict}</span></h1>",
        f"<p>{escape(f'{certificate.date} · encoder {metadata.encoder} · fusion {metadata.fusion}')}</p>",
        _list(certificate.checks),
        *(_section(section) for section in certificate.sections),
        _not_measured(certificate),
        _frames(recheck, metadata),
        "<h2>Where and of what</h2>",
        _facts(_about(certificate)),
    ]
    return (
        f"<!doctype html>\n<html lang=en>\n<meta charset=utf-8>\n<meta name=viewport content='width=device-width'>\n"
        f"<title>{title}</title>\n<style>\n{style}</style>\n<body>\n"
        + "\n".join(filter(None, body))
        + "\n</body></html>\n"
    )


def _section(section: Section) -> str:
    head = "".join(f"<th>{name}</th>" for name in _HEAD)
    rows = "\n".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in _cells(report))}</tr>" for report in section.reports)
    over = "".join(f"<p class=failed>Over budget: {escape(sentence)}</p>" for sentence in section.problems)
    return f"<h2>{escape(section.against.capitalize())}</h2>\n<table><tr>{head}</tr>\n{rows}\n</table>{over}"


def _cells(report: BackendReport) -> Iterable[str]:
    yield escape(report.backend)
    yield report.precision
    yield f"{report.batch} × {report.height} × {report.width}{' (traced)' if report.traced else ''}"
    for error in (
        report.confidence_max_error,
        report.confidence_mean_error,
        report.gate_max_error,
        report.gate_mean_error,
    ):
        yield f"{error:.1e}"
    yield f"{100 * report.label_agreement:.3f} %"
    for score in (report.miou, report.reference_miou):
        yield "–" if score is None else f"{score:.2f}"


def _not_measured(certificate: Certificate) -> str:
    if not certificate.not_measured:
        return ""
    return "<h2>Not measured here</h2>" + _list(f"{entry.name}: {entry.reason}" for entry in certificate.not_measured)


def _frames(recheck: Recheck, metadata: ArtifactMetadata) -> str:
    try:
        import cv2  # noqa: F401 - asked for once, here, rather than in the middle of a page
    except ModuleNotFoundError:
        return "<p>Golden frames are not drawn: OpenCV is not installed.</p>" if recheck.golden else ""
    if not recheck.golden or metadata.golden is None:
        return ""
    palette = np.array(metadata.palette(), np.uint8)
    rows = [_row(index, entry, recheck.answers, palette) for index, entry in enumerate(recheck.golden)]
    key = "".join(f"<li><i style='background:rgb{c.color}'></i>{escape(c.name)}</li>" for c in metadata.classes)
    terms = f"{metadata.golden.source}. Terms: {metadata.golden.license}."
    return (
        f"<h2>Golden frames</h2>\n<p>{escape(terms)} Red marks the pixels whose class is not torch's.</p>"
        f"<ul class=key>{key}</ul>\n" + "\n".join(rows)
    )


def _row(index: int, entry: Expected, answers: Mapping[str, Sequence[Answers]], palette: _Picture) -> str:
    wanted = entry.answers.labels[0]
    figures = [(name, _sensor(values[0])) for name, values in entry.feeds.items()]
    if entry.truth is not None:
        figures.append(("truth", _coloured(entry.truth[0], palette)))
    figures.append(("torch", _coloured(wanted, palette)))
    for name, given in answers.items():
        found = given[index].labels[0]
        picture = _coloured(found, palette)
        picture[found != wanted] = _DISAGREES
        figures.append((f"{name}: {int((found != wanted).sum())} pixels differ", picture))
    drawn = "".join(
        f"<figure>{_image(picture)}<figcaption>{escape(name)}</figcaption></figure>" for name, picture in figures
    )
    return f"<div class=frames style='grid-template-columns:repeat({len(figures)},1fr)'>{drawn}</div>"


def _sensor(values: NDArray[np.generic]) -> _Picture:
    """A picture as it is, or measurements from near (dark) to far, with black where there is none."""
    if values.dtype == np.uint8:
        return np.asarray(values, np.uint8)
    metres = np.nan_to_num(np.asarray(values, np.float32), posinf=0.0, neginf=0.0)
    measured = metres > 0
    farthest = float(metres.max()) or 1.0
    return np.where(measured, 40 + 215 * metres / farthest, 0).astype(np.uint8)


def _coloured(labels: _Picture, palette: _Picture) -> _Picture:
    colours = np.full((256, 3), _UNLABELLED, np.uint8)
    colours[: len(palette)] = palette
    return np.asarray(colours[labels], np.uint8)


def _image(picture: _Picture) -> str:
    import cv2

    stored = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)

    done, encoded = cv2.imencode(".png", stored)
    assert done  # any uint8 picture can be written as PNG
    content = base64.b64encode(encoded.tobytes()).decode("ascii")
    return f"<img alt='' src='data:image/png;base64,{content}'>"


def _about(certificate: Certificate) -> dict[str, str]:
    return {
        **machine_facts(certificate.machine),
        "packages": ", ".join(f"{name} {version}" for name, version in certificate.packages.items()),
        "exported at commit": certificate.commit or "unknown",
        **{f"SHA-256 of {name}": value for name, value in certificate.hashes.items()},
    }


def _facts(facts: Mapping[str, str]) -> str:
    rows = "\n".join(f"<tr><td>{escape(name)}</td><td>{escape(text)}</td></tr>" for name, text in facts.items())
    return f"<table class=facts>{rows}</table>"


def _list(sentences: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(sentence)}</li>' for sentence in sentences)}</ul>"
