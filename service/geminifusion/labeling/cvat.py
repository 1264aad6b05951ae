"""CVAT's auto-annotation function: `cvat-cli task auto-annotate ID --function-module geminifusion.labeling.cvat`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.errors import GeminiFusionError

from ..errors import ClientError, InvalidInputError, MissingExtraError, requires_extra
from .frame_files import FrameFiles
from .source import LabelingModel, images_of, open_model

with requires_extra("the CVAT function", "labeling"):
    import cv2

try:
    import cvat_sdk.auto_annotation as cvataa
    import urllib3
    from cvat_sdk.masks import encode_mask
except ModuleNotFoundError as error:
    raise MissingExtraError(
        f'the CVAT function needs {error.name}; run: pip install cvat-cli "cvat-sdk[masks]"'
    ) from None

if TYPE_CHECKING:
    import PIL.Image
    from cvat_sdk import models

_FEWEST_NUMBERS = 6  # of a polygon: three points


class FunctionError(urllib3.exceptions.HTTPError):
    """Why there are no shapes. `cvat-cli` prints the message of errors of HTTP, and of all others a traceback."""


class SegmentationFunction:
    """Finds the classes of the model, each as one mask, or as polygons around its parts.

    Attributes:
        spec: the classes, as CVAT matches them with labels of the same name.
    """

    def __init__(self, model: LabelingModel, depth: FrameFiles | None) -> None:
        self._model, self._depth = model, depth
        self.spec = cvataa.DetectionFunctionSpec(
            labels=[cvataa.label_spec(name, class_id, type="mask") for class_id, name in model.describe().classes]
        )

    def detect(
        self, context: cvataa.DetectionFunctionContext, image: PIL.Image.Image
    ) -> Sequence[models.LabeledShapeRequest]:
        """The classes of one frame whose mean confidence reaches the threshold, the largest first.

        Raises:
            FunctionError: the depth of the frame cannot be read, or the model does not take the images.
        """
        frame = PurePosixPath(context.frame_name).with_suffix("").as_posix()
        with _function_errors():
            depth = None if self._depth is None else self._depth.read(frame)
            result = self._model.segment(**images_of(np.asarray(image.convert("RGB")), depth))
        shapes = []
        for share in result.classes:
            mask = result.labels == share.id
            score = _confidence_of(mask, result.confidence)
            if score < (context.conf_threshold or 0):
                continue
            if context.conv_mask_to_poly:
                shapes += [cvataa.polygon(share.id, points, score=score) for points in outlines(mask)]
            else:
                shapes.append(cvataa.mask(share.id, encode_mask(mask), score=score))
        return shapes


def create(
    url: str | None = None, artifact: str | None = None, depth: str | None = None, api_key: str | None = None
) -> SegmentationFunction:
    """The function, as `cvat-cli` makes it from `--function-parameter NAME=str:VALUE`.

    Args:
        url: address of a server; None runs the model in this process.
        artifact: directory of an artifact, without `url`; None takes the bundled model.
        depth: folder with the depth of each frame, under the frame's name but for the suffix.
        api_key: of the server.

    Raises:
        FunctionError: an argument makes no sense, or the server does not respond.
    """
    with _function_errors():
        if url and artifact:
            raise InvalidInputError("artifact runs in this process and url on a server; give one of them")
        model = open_model(url=url, artifact=artifact, api_key=api_key)
        return SegmentationFunction(model, None if depth is None else FrameFiles(Path(depth), "depth"))


def outlines(mask: NDArray[np.bool_]) -> list[list[float]]:
    """The outer outlines of the parts of a mask (`H W`), each `x, y, x, y, …`; a polygon has no holes."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    flat = [contour.ravel().astype(float).tolist() for contour in contours]
    return [points for points in flat if len(points) >= _FEWEST_NUMBERS]


@contextmanager
def _function_errors() -> Iterator[None]:
    try:
        yield
    except (ClientError, GeminiFusionError) as error:
        raise FunctionError(str(error)) from error


def _confidence_of(mask: NDArray[np.bool_], confidence: NDArray[np.float32] | None) -> float:
    """Mean confidence where the mask is; 1 where nothing is known."""
    if confidence is None:
        return 1.0
    height, width = mask.shape
    whole = cv2.resize(confidence, (width, height), interpolation=cv2.INTER_LINEAR)
    return float(whole[mask].mean(dtype="f8"))
