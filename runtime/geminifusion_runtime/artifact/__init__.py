"""The artifact: what the exporter writes, and the runtime and the service read.

An artifact is a directory: `metadata.json` beside the files it names with their SHA-256. The service knows nothing else
of a model, so every fact that it needs is a field of its metadata. The field `task` decides the class: each task has
its own, over the fields that all share (`ArtifactMetadata`).

This package imports the standard library and pydantic alone, neither torch nor onnx.
"""

from geminifusion_runtime.artifact.detection import (
    DETECTION_OUTPUTS,
    DetectionMetadata,
    DetectionReport,
    DetectionTraining,
)
from geminifusion_runtime.artifact.fields import (
    MAX_PIXELS,
    BackendReport,
    Encoding,
    EngineRequirements,
    GoldenFile,
    HeldOutScore,
    ModalitySpec,
    OutputTensor,
    Precision,
    RuntimeFile,
    ShapeRange,
    SizePolicy,
    TrainingRecord,
    Unit,
)
from geminifusion_runtime.artifact.files import (
    MAX_FILE_BYTES,
    METADATA_NAME,
    SCHEMA_VERSION,
    ArtifactError,
    dump_metadata,
    open_artifact,
    read_metadata,
    require_segmentation,
    sha256_of,
    write_metadata,
)
from geminifusion_runtime.artifact.metadata import MODEL_NAME, ArtifactMetadata
from geminifusion_runtime.artifact.segmentation import (
    ClassSpec,
    GoldenSet,
    SegmentationMetadata,
    SegmentationReport,
    Training,
    Upsampling,
    segmentation_outputs,
)
from geminifusion_runtime.artifact.translation import (
    OutputSpec,
    TranslationMetadata,
    TranslationReport,
    TranslationTraining,
    translation_output,
)

__all__ = [
    "DETECTION_OUTPUTS",
    "MAX_FILE_BYTES",
    "MAX_PIXELS",
    "METADATA_NAME",
    "MODEL_NAME",
    "SCHEMA_VERSION",
    "ArtifactError",
    "ArtifactMetadata",
    "BackendReport",
    "ClassSpec",
    "DetectionMetadata",
    "DetectionReport",
    "DetectionTraining",
    "Encoding",
    "EngineRequirements",
    "GoldenFile",
    "GoldenSet",
    "HeldOutScore",
    "ModalitySpec",
    "OutputSpec",
    "OutputTensor",
    "Precision",
    "RuntimeFile",
    "SegmentationMetadata",
    "SegmentationReport",
    "ShapeRange",
    "SizePolicy",
    "Training",
    "TrainingRecord",
    "TranslationMetadata",
    "TranslationReport",
    "TranslationTraining",
    "Unit",
    "Upsampling",
    "dump_metadata",
    "open_artifact",
    "read_metadata",
    "require_segmentation",
    "segmentation_outputs",
    "sha256_of",
    "translation_output",
    "write_metadata",
]
