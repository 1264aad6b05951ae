"""From an artifact's directory to a model that is warm and can be tested; slow, so never on the event loop."""

from __future__ import annotations

import dataclasses
import functools
import logging
import time
from dataclasses import dataclass
from pathlib import Path

from geminifusion_runtime.artifact import open_artifact
from geminifusion_runtime.batch_size_tuning import LARGEST_BATCH, tune_batch_size
from geminifusion_runtime.devices import parse_devices
from geminifusion_runtime.errors import GeminiFusionError
from geminifusion_runtime.model import Model
from geminifusion_runtime.synthesis import SynthesizerError
from geminifusion_runtime.types import DEFAULT_SENSOR_POLICY, SensorPolicy
from geminifusion_service.isolation.instances import open_instances
from geminifusion_service.models.memory import model_file_bytes, resident_bytes, return_freed_memory
from geminifusion_service.models.self_test import SelfTestFrames, self_test_alone, self_test_frames
from geminifusion_service.settings import BatchingSettings, ModelSettings, RuntimeSettings, parse_sizes

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class LoadResult:
    """A verified, warm model. Nothing of its artifact is read any more."""

    model: Model
    self_test: SelfTestFrames | None  # None where self-tests are off
    file_bytes: int
    grown_bytes: int | None  # resident memory of the process afterwards less before; None: not measured


@dataclass(frozen=True, kw_only=True)
class ModelLoader:
    """Loads models as the settings say."""

    models: ModelSettings
    runtime: RuntimeSettings
    batching: BatchingSettings
    sensor_policy: SensorPolicy = DEFAULT_SENSOR_POLICY

    @functools.cached_property
    def translator(self) -> Model | None:
        """The synthesizer that the settings name, warm; loaded when it is first asked for.

        Raises:
            ArtifactError, RuntimeError, ValueError: see `load`.
        """
        if not self.models.synthesizer:
            return None
        directory = Path(self.models.synthesizer)
        translator = self.open(directory)
        self._warm_up(translator)
        if self.models.self_test_interval_s:
            result = self_test_alone(translator, self_test_frames(directory, translator))
            if not result.passed:
                translator.close()
                raise ValueError(f"the synthesizer {translator.reference} failed its self-test: {result.problem}")
        _log.info("loaded the synthesizer %s on %s", translator.reference, translator.backend.name)
        return translator

    def load(self, directory: Path, *, version: str | None = None, engine: str | None = None) -> LoadResult:
        """Verify an artifact, load it, warm it up at every size the settings name, and read its self-test's frames.

        Args:
            directory: the artifact.
            version: the version clients know it by; None takes the artifact's own.
            engine: the runtime of an entry of the engine cache, which no key signed; None for any other artifact, whose
                runtime and trust the settings say.

        Raises:
            ArtifactError: missing, damaged, of another schema, or not signed by a trusted key.
            RuntimeError, ValueError: the runtime cannot load it or is not installed.
        """
        started = time.perf_counter()
        translator = self.translator  # its memory is not the first model's
        return_freed_memory()
        before = resident_bytes()
        model = self.open(directory, version=version, engine=engine)
        self._warm_up(model)
        self._set_policy(model, translator)
        frames = self_test_frames(directory, model) if self.models.self_test_interval_s else None
        file_bytes = model_file_bytes(directory, model.metadata)
        after = resident_bytes()
        _log.info(
            "loaded %s on %s in %.1f s: %s",
            model.reference,
            model.backend.name,
            time.perf_counter() - started,
            model.reason,
        )
        return LoadResult(
            model=model,
            self_test=frames,
            file_bytes=file_bytes,
            grown_bytes=None if before is None or after is None else after - before,
        )

    def open(self, directory: Path, *, version: str | None = None, engine: str | None = None) -> Model:
        """Verify an artifact and open an engine instance on each device the settings name.

        Raises:
            ArtifactError, RuntimeError, ValueError: see `load`.
        """
        runtime = self.runtime
        trusted = Path(self.models.trusted_keys) if self.models.trusted_keys and engine is None else None
        metadata = open_artifact(directory, trusted_keys=trusted)
        first, *others = open_instances(
            directory,
            metadata,
            wanted=engine or runtime.backend,
            threads=runtime.threads or None,
            custom_ops=Path(runtime.custom_ops) if runtime.custom_ops else None,
            devices=parse_devices(runtime.devices),
            isolation=runtime.engine_isolation,
            trusted_keys=trusted,
        )
        if version is not None:
            metadata = dataclasses.replace(metadata, version=version)
        return Model(metadata, first.backend, first.reason, others=[other.backend for other in others])

    def _set_policy(self, model: Model, translator: Model | None) -> None:
        """Have the model do about sensors what the settings say, as far as it can."""
        model.sensor_policy = self.sensor_policy
        if translator is None:
            return
        try:
            model.synthesize_with(translator)
        except SynthesizerError as error:
            if self.sensor_policy == "synthesize":
                model.sensor_policy = DEFAULT_SENSOR_POLICY
            _log.warning("%s has sensor_policy=%s and no synthesizer: %s", model.reference, model.sensor_policy, error)

    def _warm_up(self, model: Model) -> None:
        model.warm_up()
        for size in parse_sizes(self.models.warm_up_sizes):
            try:
                model.warm_up([size])
            except GeminiFusionError as error:
                _log.warning("%s is not warmed up at %dx%d: %s", model.reference, size[1], size[0], error)
        if self.batching.max_batch:
            return
        model.batch_plan = tune_batch_size(
            model,
            most=LARGEST_BATCH,
            most_pixels=self.batching.max_batch_pixels,
            budget_s=self.batching.batch_tuning_s,
        )
        for timing in model.batch_plan.timings:
            _log.info("%s, images together: %s", model.reference, timing.table())


def unload_model(model: Model, timeout_s: float | None = None) -> None:
    """Close a model that no request uses any more, and return its memory to the system."""
    if model.close(timeout_s):
        return_freed_memory()
    else:
        _log.error("%s is still running after %s s; its memory stays in use", model.reference, timeout_s)
