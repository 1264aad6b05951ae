"""Translation in this process: the code that a server runs."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import numpy as np

from geminifusion_runtime.artifact import TranslationMetadata
from geminifusion_runtime.decoding.decode import measured_arrays
from geminifusion_runtime.model import Model
from geminifusion_runtime.tasks.parts import decode_part
from geminifusion_runtime.tasks.translation.options import TRANSLATE_OPTIONS
from geminifusion_runtime.tasks.translation.runtime import TranslationTask

from ..array_inputs import plain_image
from ..errors import InvalidInputError
from ..images import check_array, file_bytes
from ..options import parsed
from .calls import LOCAL_OPTIONS, split_inputs
from .results import TranslationResult

# A caller's own files need no guard against strangers; this is as much as OpenCV decodes.
_MAX_PIXELS = 2**30


def translate(model: Model, arguments: Mapping[str, Any]) -> TranslationResult:
    """What a model makes of one view.

    Raises:
        InvalidInputError: a file cannot be read, an argument is out of range, or the model is no translator.
        geminifusion_runtime.errors.GeminiFusionError: as a server responds.
    """
    metadata = model.metadata
    if not isinstance(metadata, TranslationMetadata):
        raise InvalidInputError(f"{metadata.reference} is a model for {metadata.task}; load a translator")
    started = time.perf_counter()
    images, given = split_inputs(arguments)
    for name in given:
        if name in TRANSLATE_OPTIONS.names and name not in LOCAL_OPTIONS:
            raise InvalidInputError(f"{name} is an option of a server; leave it out, or ask one with Client")
    options = dataclasses.replace(parsed(TRANSLATE_OPTIONS, given), format=None)
    task = TranslationTask(metadata)
    plain = {name: plain_image(image, name) for name, image in images.items()}
    accepted = model.accept(options, plain)
    decoded = {}
    for spec in task.parts:
        if spec.name not in accepted:
            continue
        image = accepted[spec.name]
        if isinstance(image, np.ndarray):
            check_array(image, spec.name)
        decoded[spec.name] = decode_part(
            image if isinstance(image, np.ndarray) else file_bytes(image, spec.name),
            spec,
            max_pixels=_MAX_PIXELS,
            **task.part_options(options, spec)._asdict(),
        )
    complete = model.completed(options, decoded)
    prepared = task.prepare(options, complete, model.sensor_policy, size_problem=model.backend.size_problem)
    ready = time.perf_counter()
    result = task.encode(options, prepared, model.run(prepared.items))
    computed = time.perf_counter()
    return TranslationResult(
        output=result.output,
        domain=result.domain,
        model=metadata.reference,
        timings_ms={"decode": (ready - started) * 1e3, "compute": (computed - ready) * 1e3},
        warnings=prepared.warnings,
        sensors=prepared.sensors,
        request_id=uuid4().hex,
        sources=measured_arrays(complete),
    )
