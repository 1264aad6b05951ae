"""Descriptions of models for clients, JSON-ready: the body of `/v1/models/NAME`."""

from __future__ import annotations

from typing import Any

from geminifusion_runtime.artifact import ModalitySpec, dump_metadata
from geminifusion_runtime.decoding.pictures import wanted
from geminifusion_runtime.model import Model
from geminifusion_service.errors import ModelNotFoundError, NotReadyError
from geminifusion_service.models.registry import ModelRegistry

_FROM_METADATA = (
    "task",
    "encoder",
    "fusion",
    "precision",
    "temperature",
    "modalities",
    "size",
    "input_scale",
    "label_upsampling",
    "intrinsics",
    "where",
    "output",
    "classes",
    "image_size",
    "grid",
    "anchors",
    "map_size",
    "selection",
    "sees_images",
    "ignore_index",
    "training",
    "weights_license",
    "data_license",
    "verification",
)


def what_to_send(spec: ModalitySpec) -> str:
    """What a client sends for a modality, in words."""
    if spec.encoding == "imagenet":
        return "a picture, 8 bits per channel: PNG, JPEG or WebP"
    if spec.unit == "metre":
        return (
            f"depth: 16-bit PNG (millimetres unless {spec.name}_scale says otherwise), TIFF (uint16 or float32) or "
            "npy; floats are metres; 0, NaN, infinite and negative mean not measured"
        )
    return wanted(spec)


def describe_model(model: Model) -> dict[str, Any]:
    """Classes, palette, modalities, limits, scores, licenses, and the runtime it was loaded with."""
    facts: dict[str, Any] = dump_metadata(model.metadata)
    for spec, described in zip(model.metadata.modalities, facts["modalities"], strict=True):
        described["send"] = what_to_send(spec)
    return {
        "name": facts["name"],
        "version": facts["version"],
        "reference": model.reference,
        "backend": model.backend.name,
        "instances": model.num_instances,
        "synthesizer": None if model.translator is None else model.translator.reference,
        "batching": None if model.batch_plan is None else model.batch_plan.description(),
        **{key: facts[key] for key in _FROM_METADATA if key in facts},
    }


def describe_reference(models: ModelRegistry, reference: str | None) -> dict[str, Any]:
    """A loaded model's description with its state, memory, last self-test and the versions of its name.

    A version that is known but not loaded is found by its reference or, the newest of a name, by its name; it has its
    state and the reason.

    Raises:
        ModelNotFoundError: nothing of that name is loaded, and nothing is known of it.
        NotReadyError: no model was named, and the default is not loaded.
    """
    try:
        loaded = models.get(reference)
    except (ModelNotFoundError, NotReadyError):
        for status in models.statuses():
            if reference in (status.reference, status.name):
                return {
                    "name": status.name,
                    "version": status.version,
                    "reference": status.reference,
                    "state": status.state.value,
                    "reason": status.reason,
                    "versions": _versions(models, status.name),
                }
        raise
    self_test = loaded.self_test
    return {
        **describe_model(loaded.model),
        "state": loaded.state.value,
        "current": models.is_current(loaded),
        "default": models.is_default(loaded),
        "memory_bytes": loaded.memory_bytes,
        "self_test": None
        if self_test is None
        else {
            "kind": self_test.kind,
            "frames": self_test.frames,
            "agreement": self_test.agreement,
            "budget": self_test.budget,
            "passed": self_test.passed,
            "problem": self_test.problem,
            "at": self_test.at.isoformat(timespec="seconds"),  # not its age: until the next one, the text stays
        },
        "versions": _versions(models, loaded.model.metadata.name),
    }


def _versions(models: ModelRegistry, name: str) -> list[dict[str, str]]:
    return [
        {"version": status.version, "state": status.state.value, "reason": status.reason}
        for status in models.statuses(name)
    ]
