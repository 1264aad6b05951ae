"""A result as notebooks show it: a small picture and a table, in HTML that loads nothing."""

from __future__ import annotations

import base64
from html import escape
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.png_encoder import encode_png

from .errors import ClientError

if TYPE_CHECKING:
    from .results import Result

_LONGEST = 360  # side of the picture in pixels
_CELL = '<td style="text-align:right">'


def result_html(result: Result) -> str:
    """The overlay, or the class colors alone where there is no image to draw on, and the classes with their shares."""
    rows = "".join(
        f'<tr><td><span style="display:inline-block;width:1em;height:1em;background:rgb{share.color}"></span></td>'
        f'<td style="text-align:left">{escape(share.name)}</td>{_CELL}{share.fraction:.1%}</td>'
        f"{_CELL}{'' if share.median_depth_m is None else f'{share.median_depth_m:.2f} m'}</td></tr>"
        for share in result.classes
    )
    height, width = result.labels.shape
    notes = "".join(f"<li>{escape(warning)}</li>" for warning in result.warnings)
    return (
        f"<div><p>{width}x{height} by {escape(result.model)}</p>"
        f'<img alt="segmentation" src="data:image/png;base64,{_thumbnail(result)}">'
        f"<table><thead><tr><th></th><th>class</th><th>share</th><th>median distance</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>{f'<ul>{notes}</ul>' if notes else ''}</div>"
    )


def _thumbnail(result: Result) -> str:
    picture: NDArray[np.uint8]
    try:
        picture = result.overlay()
    except (ClientError, ValueError):  # no image, one of another size, or no OpenCV to decode it
        picture = result.palette[result.labels]
    step = -(-max(picture.shape[:2]) // _LONGEST)
    return base64.b64encode(encode_png(np.ascontiguousarray(picture[::step, ::step]))).decode("ascii")
