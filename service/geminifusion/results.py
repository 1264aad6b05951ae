"""The result for one scene, the same whether a server or this process computed it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.encoding.class_shares import ClassShare, ClassSpace
from geminifusion_runtime.geometry.points import PointCloud
from geminifusion_runtime.options import SegmentOptions
from geminifusion_runtime.png_encoder import encode_png
from geminifusion_runtime.types import SensorHealth

from .images import picture, stored_values

if TYPE_CHECKING:
    from .cameras import Numbers

__all__ = ["ClassShare", "ClassSpace", "PointCloud", "Result"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Result:
    """Labels of every pixel of the posted image, with what is known about them.

    Attributes:
        labels: `H W` uint8 class indices at the size of the posted image.
        confidence: probability of the winning class, 0…1, float32 at a quarter of the size the network saw
            (rounded up); None when it was not asked for. A server sends it in half precision.
        gate: how much the RGB stream attends to the others, 0…1, like `confidence`; 0 where there are none.
        classes: the classes present, largest first.
        model: `name@version`.
        timings_ms: stage to milliseconds.
        warnings: sentences about what is odd in the input.
        disagreement: how much the labels depend on the other modalities, 0…1, like `confidence`.
        sensors: health of each sensor by modality.
        request_id: name of the request in the server's log.
        batch_size: number of scenes that shared the run of the network.
        sources: the images that the labels belong to, by modality, for `overlay`: encoded, or arrays.
        modality_weights: which of the modalities beside the first counted where, each 0…1 like `gate`, by name; of
            models of more than two modalities, sorted by name.
        posted: the options of the request, which say how depth is scaled and aligned and what its camera is; None where
            they are not known.
        depth_m: the distances as posted, in metres before any alignment, of results of `load()`; elsewhere they are
            among the sources.
    """

    labels: NDArray[np.uint8]
    classes: tuple[ClassShare, ...]
    model: str
    confidence: NDArray[np.float32] | None = None
    gate: NDArray[np.float32] | None = None
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    disagreement: NDArray[np.float32] | None = None
    sensors: Mapping[str, SensorHealth] = field(default_factory=dict)
    request_id: str = ""
    batch_size: int = 1
    sources: Mapping[str, bytes | NDArray[Any]] = field(default_factory=dict)
    modality_weights: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    posted: SegmentOptions | None = None
    depth_m: NDArray[np.float32] | None = None

    @property
    def palette(self) -> NDArray[np.uint8]:
        """`256 3` uint8 RGB: the color of every class present; all others are black."""
        colors = np.zeros((256, 3), np.uint8)
        for share in self.classes:
            colors[share.id] = share.color
        return colors

    def overlay(self, alpha: float = 0.5, on: str | None = None) -> NDArray[np.uint8]:
        """One of the posted images tinted with the class colors, `H W 3` uint8 RGB.

        Args:
            alpha: 0 shows the image alone, 1 the class colors alone.
            on: the modality to draw on; distances and stored numbers are shown in false colors. None takes rgb, without
                it the first 8-bit picture, or else the first image.

        Raises:
            ValueError: `alpha` is outside 0…1, or the result was made without its image.
            MissingExtraError: the image is encoded, and OpenCV to decode it is not installed.
        """
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha is {alpha}; give a number from 0 (image) to 1 (class colors)")
        base = picture(self._base(on))
        if base.shape[:2] != self.labels.shape:
            raise ValueError(f"the image is {base.shape[:2]} but the labels are {self.labels.shape}")
        tint = self.palette[self.labels].astype(np.float32)
        blend = base.astype(np.float32) * np.float32(1 - alpha) + tint * np.float32(alpha)
        return np.rint(blend).astype(np.uint8)

    def _base(self, on: str | None) -> bytes | NDArray[Any]:
        """The image to draw on; see `overlay`."""
        if not self.sources:
            raise ValueError("this result was made without its image, so there is nothing to draw on")
        if on is not None:
            if on not in self.sources:
                raise ValueError(f"there is no image of {on!r} to draw on; give one of {', '.join(self.sources)}")
            return self.sources[on]
        if "rgb" in self.sources:
            return self.sources["rgb"]
        images = list(self.sources.values())
        return next((image for image in images if stored_values(image).dtype == np.uint8), images[0])

    def to_pointcloud(self, intrinsics: Numbers | None = None, *, depth: str = "depth") -> PointCloud:
        """The measured pixels as points with color, class and confidence; the same as a server's `format=ply`.

        Args:
            intrinsics: `fx, fy, cx, cy` of the depth camera in pixels of the depth as posted, or its matrix of 3 by 3;
                None takes those of the request. Where the request had depth resized or registered, so are the points.
            depth: the modality that measures distance.

        Raises:
            InvalidInputError: there is no such image, no camera, or one that cannot be that of the image.
            MissingExtraError: the image is encoded, and OpenCV to decode it is not installed.
        """
        from .point_clouds import result_cloud

        return result_cloud(self, intrinsics, depth)[0]

    def save_pointcloud(self, path: str | Path, intrinsics: Numbers | None = None, *, depth: str = "depth") -> Path:
        """Write `to_pointcloud(intrinsics)`: `.ply`, `.pcd`, or `.npz` with the arrays.

        Raises:
            InvalidInputError: the suffix is another; or see `to_pointcloud`.
        """
        from .point_clouds import save_cloud

        return save_cloud(self, Path(path), intrinsics, depth)

    def save(self, path: str | Path) -> Path:
        """Write the labels: `.png` as an indexed PNG in the class colors, `.npz` with all maps.

        Raises:
            ValueError: the suffix is another.
        """
        path = Path(path)
        match path.suffix.lower():
            case ".png":
                path.write_bytes(encode_png(self.labels, self.palette))
            case ".npz":
                maps = {"confidence": self.confidence, "gate": self.gate, "disagreement": self.disagreement}
                arrays: dict[str, NDArray[Any]] = {"labels": self.labels}
                arrays |= {name: values for name, values in maps.items() if values is not None}
                arrays |= {f"modality_weights_{name}": values for name, values in self.modality_weights.items()}
                with path.open("wb") as stream:
                    np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]  # its stub types every keyword as bool
            case suffix:
                raise ValueError(f"cannot save labels as {suffix or 'a file without suffix'!r}; use .png or .npz")
        return path

    def indices_png(self) -> bytes:
        """The labels as an 8-bit grey PNG whose values are the class indices."""
        return encode_png(self.labels)

    def save_overlay(self, path: str | Path, alpha: float = 0.5, on: str | None = None) -> Path:
        """Write `overlay(alpha, on)` as a PNG."""
        path = Path(path)
        path.write_bytes(encode_png(self.overlay(alpha, on)))
        return path

    def table(self) -> str:
        """The classes present as lines of text: name, share of the image, median distance."""
        width = max([len("class"), *(len(share.name) for share in self.classes)])
        lines = [f"{'class':<{width}}   share   median distance"]
        for share in self.classes:
            distance = "no depth" if share.median_depth_m is None else f"{share.median_depth_m:.2f} m"
            lines.append(f"{share.name:<{width}}  {share.fraction:6.1%}   {distance:>15}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """For notebooks."""
        from .notebook import result_html

        return result_html(self)

    def __repr__(self) -> str:
        height, width = self.labels.shape
        names = ", ".join(f"{share.name} {share.fraction:.0%}" for share in self.classes)
        return f"Result({width}x{height} by {self.model}: {names})"

    def __str__(self) -> str:
        return self.table()
