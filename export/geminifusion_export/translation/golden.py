"""The golden frames of a translator: rendered rooms where its inputs are made of such, random ones elsewhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geminifusion_export.translation.graph import TranslationGraph, random_batch
from geminifusion_model.data.synthetic_rooms import Rooms
from geminifusion_model.translation.domains import FRAME_DOMAINS, Domain
from geminifusion_model.translation.frame_views import RoomViews
from geminifusion_model.translation.task import TranslationTask
from geminifusion_runtime.artifact import GoldenFile
from geminifusion_runtime.backends.protocol import Backend, GraphInputs

GOLDEN_NAME = "golden.npz"
_SIZE = (96, 128)  # multiples of 32, so that nothing is padded
_NUM_FRAMES = 4
_SEED = 20_000  # no training set uses it


def write_golden_file(path: Path, graph: TranslationGraph, reference: Backend) -> GoldenFile:
    """Run the reference on the golden frames, one by one, and write frames and outputs; the same bytes each time."""
    rendered = all(FRAME_DOMAINS.get(domain.name) == domain for domain in graph.task.inputs)
    frames = _rooms(graph.task) if rendered else random_batch(graph, (_NUM_FRAMES, *_SIZE), seed=_SEED)
    outputs = [
        reference.run({name: array[index : index + 1] for name, array in frames.items()})
        for index in range(_NUM_FRAMES)
    ]
    arrays = {name: np.concatenate([output[name] for output in outputs]) for name in graph.output_names}
    np.savez_compressed(path, allow_pickle=False, **dict(frames), **arrays)
    source = "rooms rendered by geminifusion" if rendered else "random inputs: no frames of these domains are shipped"
    return GoldenFile(
        file=path.name,
        frames=_NUM_FRAMES,
        source=source,
        license="rooms: Apache-2.0" if rendered else "no rights reserved",
    )


def _rooms(task: TranslationTask) -> GraphInputs:
    views = RoomViews(Rooms(_NUM_FRAMES, _SEED, _SIZE))
    read = [views.read(index, task.names) for index in range(_NUM_FRAMES)]
    return {
        domain.name: np.stack(
            [_as_stored(view.images[domain.name], view.measured[domain.name], domain) for view in read]
        )
        for domain in task.inputs
    }


def _as_stored(image: NDArray[np.float32], measured: NDArray[np.bool_], domain: Domain) -> NDArray[np.generic]:
    """An encoded image as a client would send it: grey levels, or metres with 0 where nothing was measured."""
    if domain.kind != "depth":
        return np.rint((image + 1.0) * 127.5).clip(0, 255).astype(np.uint8)
    low, high = domain.range
    share = (image + 1.0) / 2
    if domain.scale == "linear":
        metres = low + share * (high - low)
    else:
        ends = np.log(low + domain.log_offset), np.log(high + domain.log_offset)
        metres = np.exp(ends[0] + share * (ends[1] - ends[0])) - domain.log_offset
    return np.where(measured, metres, 0.0).astype(np.float32)
