"""A translated image as a file."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.png_encoder import encode_png
from geminifusion_runtime.tasks.translation.options import TranslationFormat

DEPTH_SCALE = 0.001  # metres per unit of a depth PNG, as everywhere in this project where nothing else is said
_FARTHEST = 65535  # of 16 bits


def encode_output(output: NDArray[np.generic], wanted: TranslationFormat) -> bytes:
    """The file of an output.

    Args:
        output: `H W 3` uint8 RGB, or `H W` float32 metres; as PNG, metres beyond 65.535 are that.
    """
    if wanted == "npy":
        stream = io.BytesIO()
        np.save(stream, output, allow_pickle=False)
        return stream.getvalue()
    if wanted == "picture":
        from geminifusion_runtime.encoding.views import view  # needs OpenCV, which a client may do without

        return encode_png(view(output))
    if output.ndim == 3:
        return encode_png(np.asarray(output, np.uint8))
    stored = np.clip(np.rint(np.asarray(output, np.float32) / DEPTH_SCALE), 0, _FARTHEST).astype(np.uint16)
    return encode_png(stored)
