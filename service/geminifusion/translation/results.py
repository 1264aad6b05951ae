"""The translated image of one view, the same whether a server or this process computed it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.decoding.npy_layout import read_npy_layout
from geminifusion_runtime.errors import GeminiFusionError
from geminifusion_runtime.png_encoder import encode_png
from geminifusion_runtime.tasks.translation.encoding import encode_output
from geminifusion_runtime.types import SensorHealth

from ..errors import InvalidInputError
from ..images import picture


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class TranslationResult:
    """An image of another domain, at the size of the posted one.

    Attributes:
        output: `H W 3` uint8 RGB, or `H W` float32 metres.
        domain: what it shows, such as `depth` or `normal`.
        model: `name@version`.
        timings_ms: stage to milliseconds.
        warnings: sentences about what is odd in the input.
        sensors: health of each sensor by input; of a server over HTTP without the problems, which are warnings.
        request_id: name of the request in the server's log.
        batch_size: number of views that shared the run of the network.
        sources: the images that were given, by input: encoded, or arrays.
    """

    output: NDArray[np.generic]
    domain: str
    model: str
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    sensors: Mapping[str, SensorHealth] = field(default_factory=dict)
    request_id: str = ""
    batch_size: int = 1
    sources: Mapping[str, bytes | NDArray[Any]] = field(default_factory=dict)

    @property
    def is_depth(self) -> bool:
        """Whether the output is metres."""
        return self.output.ndim == 2

    def picture(self) -> NDArray[np.uint8]:
        """The output to look at, `H W 3` uint8 RGB: depth in false colors."""
        return picture(self.output)

    def save(self, path: str | Path) -> Path:
        """Write the output: `.png`, of depth 16 bits in millimetres; or `.npy`, the values themselves.

        Raises:
            InvalidInputError: the suffix is another.
        """
        path = Path(path)
        match path.suffix.lower():
            case ".png":
                path.write_bytes(encode_output(self.output, "png"))
            case ".npy":
                path.write_bytes(encode_output(self.output, "npy"))
            case suffix:
                raise InvalidInputError(
                    f"cannot save an image as {suffix or 'a file without suffix'!r}; use .png or .npy"
                )
        return path

    def save_picture(self, path: str | Path) -> Path:
        """Write `picture()` as a PNG."""
        path = Path(path)
        path.write_bytes(encode_png(self.picture()))
        return path

    def table(self) -> str:
        """One line: what was made, and of depth how far it reaches."""
        height, width = self.output.shape[:2]
        what = f"{self.domain}, {width}x{height}, by {self.model}"
        if not self.is_depth:
            return what
        low, middle, high = np.percentile(np.asarray(self.output, np.float32), (0, 50, 100))
        return f"{what}: {low:.2f} m to {high:.2f} m, median {middle:.2f} m"

    def __repr__(self) -> str:
        return f"TranslationResult({self.table()})"

    def __str__(self) -> str:
        return self.table()


def read_output(data: bytes) -> NDArray[np.generic]:
    """The values in a response of `format=npy`.

    Raises:
        ValueError: it is no npy, or neither an RGB image nor depth.
    """
    try:
        shape, fortran, dtype, offset = read_npy_layout(data, "the output")  # before anything of this shape is made
    except GeminiFusionError as error:
        raise ValueError(str(error)) from None
    stored = np.frombuffer(data, dtype, offset=offset).reshape(shape, order="F" if fortran else "C")
    output = stored.astype(dtype.newbyteorder("="))
    is_image = output.ndim == 3 and output.shape[2] == 3 and output.dtype == np.uint8
    if not (is_image or (output.ndim == 2 and output.dtype == np.float32)):
        raise ValueError(f"an output of {output.dtype} {output.shape}")
    return output
