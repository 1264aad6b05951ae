"""Artifacts with golden frames, and a manager in the test's own event loop."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geminifusion_runtime.artifact import GoldenSet, read_metadata, sha256_of, write_metadata
from geminifusion_runtime.model import Model
from geminifusion_service.model_manager import ModelManager
from geminifusion_service.observability.metrics import Metrics
from geminifusion_service.pipeline.local_executor import LocalExecutor
from geminifusion_service.pipeline.segmenter import Segmenter
from geminifusion_service.settings import Settings


@pytest.fixture(scope="session")
def add_golden(make_pair: Callable[..., Any]) -> Callable[..., Path]:
    """`add_golden(directory, wrong=0.1)`: golden frames of which that share of labels is wrong."""

    def add(directory: Path, *, wrong: float = 0.0) -> Path:
        pairs = [make_pair(seed) for seed in range(2)]
        labels = np.stack([pair.labels for pair in pairs])
        labels.reshape(-1)[: round(wrong * labels.size)] ^= 1
        quarter = [-(-side // 4) for side in labels.shape[1:]]
        np.savez_compressed(
            directory / "golden.npz",
            rgb=np.stack([pair.rgb for pair in pairs]),
            depth=np.stack([pair.depth_mm * np.float32(0.001) for pair in pairs]),
            labels=labels,
            confidence=np.ones((2, *quarter), np.float32),
            gate=np.zeros((2, *quarter), np.float32),
        )
        metadata = read_metadata(directory)
        write_metadata(
            directory,
            dataclasses.replace(
                metadata,
                files=metadata.files | {"golden.npz": sha256_of(directory / "golden.npz")},
                golden=GoldenSet(file="golden.npz", frames=2, source="blobs", license="none"),
            ),
        )
        return directory

    return add


@pytest.fixture(scope="session")
def make_model(tiny_artifact):
    """`make_model("tiny", "2")`: the tiny model under another name; they share one runtime."""
    loaded = Model.open(tiny_artifact, threads=1)

    def make(name, version):
        return Model(dataclasses.replace(loaded.metadata, name=name, version=version), loaded.backend)

    return make


@pytest.fixture
def managing():
    """`async with managing(model_repository=...) as (manager, segmenter, metrics)`: started, closed at the end."""

    @asynccontextmanager
    async def manage(**values: Any):
        few = {"threads": 1, "decode_workers": 1, "decode_isolation": "thread", "max_batch": 1}
        settings = Settings.of(**{"artifacts": (), **few, **values})
        metrics = Metrics()
        segmenter = Segmenter(LocalExecutor(settings, metrics), metrics, max_bytes=settings.limits.max_inflight_bytes)
        manager = ModelManager(settings, metrics, segmenter)
        try:
            await manager.start()
            yield manager, segmenter, metrics
        finally:
            await segmenter.close(5)
            await manager.close()

    return manage


@pytest.fixture
def until():
    """`await until(condition)`: waits for what another task is to bring about."""

    async def wait(condition: Callable[[], object], seconds: float = 10) -> None:
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 - the condition is the service's, which knows of no event of ours
                await asyncio.sleep(0.01)

    return wait
