"""The model that makes pre-annotations: on a server, or in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from geminifusion_runtime.artifact import require_segmentation
from geminifusion_runtime.task_names import SEGMENTATION

from ..errors import InvalidResponseError
from ..images import ImageInput
from ..results import Result

_PATIENCE = 8  # times that a busy server is asked again


@dataclass(frozen=True, kw_only=True)
class Description:
    """Which model it is: `name@version`, and its classes by id and name."""

    reference: str
    classes: Sequence[tuple[int, str]]


@dataclass(frozen=True, kw_only=True)
class LabelingModel:
    """A model as label tools use it.

    Attributes:
        segment: called with images by modality; `Client.segment` or a `LocalModel`.
        describe: a server may be given another model while it runs, so it is asked every time.
    """

    segment: Callable[..., Result]
    describe: Callable[[], Description]


def open_model(
    *, url: str | None = None, artifact: str | Path | None = None, api_key: str | None = None
) -> LabelingModel:
    """The first segmentation model of the server at `url`, or an artifact in this process (None: the bundled one)."""
    if url is None:
        from ..local import load

        segment = load(artifact)
        facts = require_segmentation(segment.metadata)
        here = Description(reference=facts.reference, classes=[(spec.id, spec.name) for spec in facts.classes])
        return LabelingModel(segment=segment, describe=lambda: here)

    from ..client import Client

    client = Client(url, retries=_PATIENCE, api_key=api_key)
    return LabelingModel(segment=client.segment, describe=lambda: _served(client.models()))


def mean_confidence(result: Result) -> float | None:
    """Mean confidence of an image, 0…1; None where the result has none."""
    return None if result.confidence is None else float(result.confidence.mean(dtype="f8"))


def images_of(rgb: ImageInput, depth: ImageInput | None) -> dict[str, ImageInput]:
    """The images of a scene, of which the depth may be missing."""
    return {"rgb": rgb} if depth is None else {"rgb": rgb, "depth": depth}


def _served(models: list[dict[str, object]]) -> Description:
    try:
        # What a request for masks that names no model gets.
        model = next((each for each in models if each.get("task", SEGMENTATION) == SEGMENTATION), models[0])
        classes = [(int(one["id"]), str(one["name"])) for one in model["classes"]]  # type: ignore[attr-defined]
        return Description(reference=f"{model['name']}@{model['version']}", classes=classes)
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise InvalidResponseError(
            f"the server describes no model as this release expects ({error!r}); load one, or install client and "
            "server of one release"
        ) from error
