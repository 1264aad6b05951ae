"""The options `NAME_scale` and `NAME_invalid` of a model's modalities: which there are, and what others lack."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from geminifusion_runtime.artifact import ArtifactMetadata, ModalitySpec
from geminifusion_runtime.errors import InvalidOptionError
from geminifusion_runtime.option_sets import MODALITY_FIELDS, SHOWN_CHARACTERS
from geminifusion_runtime.option_types import ImageOptions
from geminifusion_runtime.options import SEGMENT_OPTIONS, SegmentOptions


def check_modalities(options: ImageOptions, metadata: ArtifactMetadata) -> None:
    """Check the options that are about modalities against those of the model.

    Raises:
        InvalidOptionError: an option of a modality that the model does not have, or that has no use for it; the message
            names those of the model.
    """
    given = [
        *((name, "scale") for name in options.scales),
        *((name, "invalid") for name in options.invalids),
        *([("depth", "scale")] if options.depth_scale is not None else ()),
        *([("depth", "invalid")] if options.depth_invalid else ()),
    ]
    if given:
        specs = {spec.name: spec for spec in metadata.modalities}
        if (computed := metadata.hha_from_depth) is not None:
            specs.setdefault("depth", computed)
        for name, kind in given:
            if name not in specs or not _takes(specs[name], kind):
                raise _misplaced(name, kind, specs, metadata)


def check_overlay(options: SegmentOptions, metadata: ArtifactMetadata) -> None:
    """Check that an overlay is drawn on a modality of the model.

    Raises:
        InvalidOptionError: it has none of that name; the message names those it has.
    """
    if options.overlay_on is not None and options.overlay_on not in {spec.name for spec in metadata.modalities}:
        raise InvalidOptionError(
            f"overlay_on is {options.overlay_on[:SHOWN_CHARACTERS]!r}, expected a modality of {metadata.reference}: "
            f"{', '.join(spec.name for spec in metadata.modalities)}"
        )


def modality_option_schemas(spec: ModalitySpec) -> dict[str, dict[str, Any]]:
    """JSON schema of each option of one modality, as `OptionSet.schemas` has those that exist whatever the model."""
    if spec.name == "depth":
        return {}  # among those
    described = SEGMENT_OPTIONS.schemas()
    return {
        f"{spec.name}_{kind}": described[f"depth_{kind}"]
        | {"description": described[f"depth_{kind}"]["description"].replace("depth", spec.name)}
        for kind in MODALITY_FIELDS
        if _takes(spec, kind)
    }


def _misplaced(
    name: str, kind: str, specs: Mapping[str, ModalitySpec], metadata: ArtifactMetadata
) -> InvalidOptionError:
    """The error for the option of a modality that the model does not have, or that has no use for it."""
    option = f"{name}_{kind}"
    if name not in specs:
        near = difflib.get_close_matches(name, [one for one, its in specs.items() if _takes(its, kind)], 1)
        hint = f"did you mean {near[0]}_{kind}?" if near else "leave it out"
        return InvalidOptionError(
            f"there is no option {option[:SHOWN_CHARACTERS]!r}: the modalities of {metadata.reference} are "
            f"{', '.join(one.name for one in metadata.modalities)}; {hint}"
        )
    what = "is an 8-bit picture" if specs[name].unit == "intensity" else "is of stored numbers"
    why = "only distances have a scale" if kind == "scale" else "every value of it is a measurement"
    return InvalidOptionError(f"{option} makes no sense: {name} of {metadata.reference} {what}, {why}; leave it out")


def _takes(spec: ModalitySpec, kind: str) -> bool:
    """Whether the modality has a use for an option `NAME_kind`."""
    is_depth = spec.unit == "metre" or spec.encoding == "hha"
    return is_depth or (kind == "invalid" and spec.unit == "count")
