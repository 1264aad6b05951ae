"""A prediction in the format that the client asked for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.artifact import SegmentationMetadata
from geminifusion_runtime.camera import Intrinsics
from geminifusion_runtime.decoding.decode import DecodedRequest, measured_arrays
from geminifusion_runtime.encoding.class_shares import ClassShare, class_shares, distances
from geminifusion_runtime.encoding.masks import index_png, overlay_png
from geminifusion_runtime.encoding.run_lengths import RunLengths, encode_classes
from geminifusion_runtime.encoding.views import view
from geminifusion_runtime.geometry.files import cloud_comments, encode_cloud
from geminifusion_runtime.geometry.points import PointCloud, point_cloud
from geminifusion_runtime.npz_encoder import npz
from geminifusion_runtime.options import SegmentOptions
from geminifusion_runtime.postprocessing import Prediction


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """The mask as a file or as run lengths, and the classes in it."""

    mask: bytes = b""
    classes: tuple[ClassShare, ...] = ()
    rle: tuple[RunLengths, ...] = ()


def encode(
    options: SegmentOptions,
    metadata: SegmentationMetadata,
    decoded: DecodedRequest,
    prediction: Prediction,
    disagreement: NDArray[np.float16] | None = None,
) -> Encoded:
    """Encode a prediction in the format of `options`.

    Args:
        decoded: the images as the model saw them, by modality in the model's order: the overlay is drawn on one of
            them, the class shares measure the distances in another.
        disagreement: map `h w` of `geminifusion_runtime.postprocessing.disagreement`, for npz.
    """
    labels, wanted = prediction.labels, options.format
    classes: tuple[ClassShare, ...] = ()
    depth_m = distances(metadata, measured_arrays(decoded.images))
    if options.classes or wanted == "json":
        classes = class_shares(labels, depth_m, metadata.classes, decoded.camera)
    if wanted is None:
        return Encoded(classes=classes)
    if wanted == "json":
        return Encoded(classes=classes, rle=tuple(encode_classes(labels)))
    if wanted == "png":
        mask = index_png(labels)
    elif wanted == "palette":
        mask = index_png(labels, metadata.palette())
    elif wanted == "overlay":
        mask = overlay_png(view(_overlay_base(options, metadata, decoded)), labels, metadata.palette())
    elif wanted in ("ply", "pcd", "cloud-npz"):
        assert depth_m is not None, "prepare rejects requests of points without distances"
        assert decoded.camera is not None, "prepare rejects requests of points without a camera"
        cloud = _cloud(metadata, decoded, depth_m, decoded.camera, prediction)
        present = {int(one): metadata.classes[one].name for one in np.unique(labels)}
        mask = encode_cloud(cloud, wanted, cloud_comments(metadata.reference, decoded.camera, present))
    else:
        maps: dict[str, NDArray[np.generic]] = {
            "labels": labels,
            "confidence": prediction.confidence,
            "gate": prediction.gate,
        }
        if prediction.modality_weights is not None:
            names = [spec.name for spec in metadata.modalities[1:]]
            maps |= {
                f"modality_weights_{name}": one for name, one in zip(names, prediction.modality_weights, strict=True)
            }
        if disagreement is not None:
            maps["disagreement"] = disagreement
        mask = npz(maps)
    return Encoded(mask=mask, classes=classes)


def _cloud(
    metadata: SegmentationMetadata,
    decoded: DecodedRequest,
    depth_m: NDArray[np.float32],
    camera: Intrinsics,
    prediction: Prediction,
) -> PointCloud:
    """The points of a request, in the colors of rgb, or without it of the classes."""
    rgb = decoded.images.get("rgb")
    return point_cloud(
        depth_m,
        camera,
        labels=prediction.labels,
        colors=np.array(metadata.palette(), np.uint8)[prediction.labels] if rgb is None else view(rgb.array),
        confidence=prediction.confidence,
    )


def _overlay_base(
    options: SegmentOptions, metadata: SegmentationMetadata, decoded: DecodedRequest
) -> NDArray[np.generic]:
    """The modality that was asked for; without it rgb, or else the first 8-bit picture, or else the first that came."""
    pictures = [spec.name for spec in metadata.modalities if spec.unit == "intensity"]
    for name in (options.overlay_on, "rgb", *pictures):
        if name is not None and name in decoded.images:
            return decoded.images[name].array
    return next(iter(decoded.images.values())).array
