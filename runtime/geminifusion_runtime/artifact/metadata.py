"""What every artifact says of itself, whatever its task."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from geminifusion_runtime.artifact.fields import (
    STRICT,
    BackendReport,
    EngineRequirements,
    GoldenFile,
    ModalitySpec,
    Name,
    OutputTensor,
    RuntimeFile,
    Sha256,
    SizePolicy,
    TrainingRecord,
)

MODEL_NAME = "model.onnx"
_MAX_FILES = 64


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ArtifactMetadata:
    """Everything the service needs to know about a model; the fields that every task has.

    Attributes:
        modalities: the images among the graph's inputs, in the network's order.
        verification, golden, training: of the task's own kinds, with its scores.
    """

    schema_version: Literal[1]
    name: Name
    version: Name
    task: str
    encoder: str
    fusion: str
    modalities: Annotated[tuple[ModalitySpec, ...], Field(min_length=1, max_length=4)]
    size: SizePolicy
    precision: Literal["float32", "float16", "bfloat16"]
    weights_stored_as: Literal["float32", "float16"] = "float32"
    opset: int
    files: Annotated[dict[str, Sha256], Field(max_length=_MAX_FILES)]
    checkpoint_sha256: Sha256
    git_commit: str | None = None
    created_with: dict[str, str] = dataclasses.field(default_factory=dict)  # package -> version
    training: TrainingRecord
    weights_license: str
    data_license: str
    verification: tuple[BackendReport, ...] = ()
    runtimes: tuple[RuntimeFile, ...] = ()
    engine: EngineRequirements | None = None  # of the RuntimeFile with runtime tensorrt
    golden: GoldenFile | None = None

    @model_validator(mode="after")
    def _files_agree(self) -> ArtifactMetadata:
        names = [modality.name for modality in self.modalities]
        if len(set(names)) != len(names):
            raise ValueError(f"modalities are {names}; expected each name once")
        if MODEL_NAME not in self.files:
            raise ValueError(f"files must name {MODEL_NAME}")
        named = [entry.file for entry in self.runtimes] + ([self.golden.file] if self.golden else [])
        if self.engine is not None and self.engine.plugin_file is not None:
            named.append(self.engine.plugin_file)
        if missing := [name for name in named if name not in self.files]:
            raise ValueError(f"files must name {', '.join(missing)}, with a SHA-256")
        if (self.engine is None) == any(entry.runtime == "tensorrt" for entry in self.runtimes):
            raise ValueError("a TensorRT engine among the runtimes and its requirements belong together")
        if any(Path(name).name != name for name in self.files):
            raise ValueError("files must be plain names inside the artifact directory")
        return self

    @property
    def outputs(self) -> tuple[OutputTensor, ...]:
        """The outputs of the graph, in their order."""
        raise NotImplementedError(f"the metadata of {self.task} name no outputs")

    @property
    def hha_from_depth(self) -> ModalitySpec | None:
        """The HHA modality that depth may be sent for; None where there is none, or the model takes depth itself."""
        if any(spec.name == "depth" for spec in self.modalities):
            return None
        return next((spec for spec in self.modalities if spec.encoding == "hha"), None)

    def distance_modality(self, came: Collection[str]) -> str | None:
        """The first modality in metres of those that came, by whose distances pixels are places; None without one."""
        return next((spec.name for spec in self.modalities if spec.unit == "metre" and spec.name in came), None)

    @property
    def reference(self) -> str:
        """`name@version`, as clients ask for it."""
        return f"{self.name}@{self.version}"
