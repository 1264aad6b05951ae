"""Decoded images to what the engine takes: sensor policy, alignment, checks against the model, warnings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from geminifusion_runtime.artifact import SegmentationMetadata
from geminifusion_runtime.decoding.alignment import align_images
from geminifusion_runtime.decoding.decode import DecodedImage, DecodedRequest, measured_arrays, sensor_healths
from geminifusion_runtime.decoding.orientation import ORIENTATION_NOTE
from geminifusion_runtime.decoding.sensor_policy import apply_policy
from geminifusion_runtime.errors import ImageTooLargeError, InvalidOptionError, SizeMismatchError
from geminifusion_runtime.options import SegmentOptions
from geminifusion_runtime.preprocessing import PreparedItem, absence_warnings, without
from geminifusion_runtime.preprocessing import prepare as prepare_item
from geminifusion_runtime.types import CLOUD_FORMATS, SensorHealth, SensorPolicy

CLOUD_BYTES_PER_PIXEL = 24  # of a file of points; three times that while it is made
# As many as depth cameras have.
MAX_CLOUD_PIXELS = 1920 * 1200


@dataclass(frozen=True, kw_only=True)
class PreparedRequest:
    """One request, ready for the engine."""

    decoded: DecodedRequest
    items: tuple[PreparedItem, ...]  # the frame, and where disagreement was asked for, its first modality alone
    sensors: Mapping[str, SensorHealth]  # of all images that came, by modality name
    warnings: tuple[str, ...]  # for the client


def prepare(
    metadata: SegmentationMetadata,
    options: SegmentOptions,
    images: Mapping[str, DecodedImage],
    default_policy: SensorPolicy,
    *,
    size_problem: Callable[[int, int], str | None],
) -> PreparedRequest:
    """Prepare the decoded images of one request.

    Args:
        images: by modality name.
        default_policy: what to do about a broken sensor where the request does not say.
        size_problem: see `preprocessing.prepare`.

    Raises:
        GeminiFusionError: the images do not fit the model, each other, the options or the sensor policy.
    """
    if options.overlay_on is not None and options.overlay_on not in images:
        raise InvalidOptionError(
            f"overlay_on is {options.overlay_on}, and {', '.join(images) or 'nothing'} came; send it, or name another"
        )
    specs = {spec.name: spec for spec in metadata.modalities}
    kept, notes = apply_policy(images, specs, options.sensor_policy or default_policy)
    _check_points(metadata, options, kept, notes)
    kept, camera = align_images(kept, metadata, options)
    decoded = DecodedRequest(images=kept, camera=camera)
    try:
        item = prepare_item(metadata, {name: image.array for name, image in kept.items()}, size_problem=size_problem)
    except SizeMismatchError as error:
        turned = [text for image in kept.values() for text in image.warnings if ORIENTATION_NOTE in text]
        raise SizeMismatchError("; ".join([str(error), *turned])) from None
    items: tuple[PreparedItem, ...] = (item,)
    if options.disagreement:
        first, *others = kept
        if not others:
            raise InvalidOptionError(
                f"disagreement compares responses with and without the other modalities, and only {first} came; "
                "send one more or leave the option out"
            )
        items = (item, without(metadata, item, others))
    if options.format in CLOUD_FORMATS and item.image_size[0] * item.image_size[1] > MAX_CLOUD_PIXELS:
        height, width = item.image_size
        raise ImageTooLargeError(
            f"the images are {width}x{height}; points are given of up to {MAX_CLOUD_PIXELS / 1e6:.1f} megapixels: send "
            "smaller ones, or make the points of a mask yourself, with Result.to_pointcloud"
        )
    return PreparedRequest(
        decoded=decoded,
        items=items,
        sensors=sensor_healths(images),
        warnings=notes + _warnings(metadata, options, decoded),
    )


def _check_points(
    metadata: SegmentationMetadata, options: SegmentOptions, kept: Mapping[str, DecodedImage], notes: tuple[str, ...]
) -> None:
    """Reject a request whose places the sensor policy took away."""
    needs = "align=register" if options.align == "register" else f"format={options.format}"
    if (options.align == "register" or options.format in CLOUD_FORMATS) and not (
        metadata.distance_modality(measured_arrays(kept)) and (options.align != "register" or "rgb" in kept)
    ):
        raise InvalidOptionError(
            f"{needs} needs a sensor that sensor_policy=drop-modality left out: {'; '.join(notes)}"
        )


def _warnings(metadata: SegmentationMetadata, options: SegmentOptions, decoded: DecodedRequest) -> tuple[str, ...]:
    absent = absence_warnings(metadata, decoded.images)
    untrained = tuple(
        f"the model was never trained without {spec.name}, so the disagreement map shows how much it relies on it, "
        "not what it would see without"
        for spec in metadata.modalities
        if options.disagreement and spec.name in list(decoded.images)[1:] and not spec.optional
    )
    return absent + untrained + tuple(text for image in decoded.images.values() for text in image.warnings)
