"""The options about places: cameras, registration and files of points; what they need of a model and of a request."""

from __future__ import annotations

from collections.abc import Collection

from geminifusion_runtime.artifact import SegmentationMetadata
from geminifusion_runtime.errors import InvalidOptionError
from geminifusion_runtime.options import SegmentOptions
from geminifusion_runtime.types import CLOUD_FORMATS


def check_space(options: SegmentOptions, metadata: SegmentationMetadata, came: Collection[str]) -> None:
    """Check the options about places before anything is decoded.

    Args:
        options: of the request.
        metadata: of the model.
        came: names of the modalities that came.

    Raises:
        InvalidOptionError: they need what the model does not take, or what did not come.
    """
    names = ", ".join(spec.name for spec in metadata.modalities)
    metric = [spec.name for spec in metadata.modalities if spec.unit == "metre"]
    if options.align != "register" and (options.rgb_intrinsics or options.extrinsics):
        given = "rgb_intrinsics" if options.rgb_intrinsics else "extrinsics"
        raise InvalidOptionError(f"{given} came without align=register, which alone needs them; send both, or neither")
    wanting = [f"align={options.align}"] if options.align == "register" else []
    if options.format in CLOUD_FORMATS:
        wanting.append(f"format={options.format}")
    wanted = " and ".join(wanting)
    if wanting and not metric:
        raise InvalidOptionError(
            f"{wanted} needs depth in metres, and {metadata.reference} takes {names}, none of which is; ask a model "
            "that takes depth"
        )
    if options.intrinsics and not metric and not any(spec.encoding == "hha" for spec in metadata.modalities):
        raise InvalidOptionError(
            f"intrinsics say where the pixels of depth are, and {metadata.reference} takes no depth, but {names}; "
            "leave them out"
        )
    if not wanting:
        return
    if metadata.distance_modality(came) is None:
        raise InvalidOptionError(f"{wanted} needs {metric[0]}, and {' and '.join(came)} came; send it as well")
    if not options.intrinsics and metadata.intrinsics is None:
        raise InvalidOptionError(f"{wanted} needs the camera; send intrinsics=fx,fy,cx,cy in pixels of {metric[0]}")
    if options.align == "register":
        if "rgb" not in came:
            raise InvalidOptionError(
                f"align=register brings {metric[0]} to the pixels of rgb, and none came; send rgb, or leave align out"
            )
        for name in ("rgb_intrinsics", "extrinsics"):
            if not getattr(options, name):
                raise InvalidOptionError(
                    f"align=register needs intrinsics, rgb_intrinsics and extrinsics, and {name} is missing; send all"
                )
