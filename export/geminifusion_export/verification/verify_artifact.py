"""Verifying an artifact on the user's own machine; torch is needed only if a checkpoint is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from geminifusion_export.errors import VerificationError
from geminifusion_export.runtime_discovery import open_candidates
from geminifusion_export.verification.certificate import Verification, certify
from geminifusion_export.verification.measurement import Measurement, Section
from geminifusion_export.verification.tasks import VERIFICATIONS
from geminifusion_runtime.artifact import MODEL_NAME, ArtifactMetadata, open_artifact
from geminifusion_runtime.backends.protocol import GraphOutputs


def verify_artifact(
    artifact: Path,
    checkpoint: Path | None = None,
    data: Path | None = None,
    frames: int = 50,
    *,
    threads: int = 0,
    custom_ops: Path | None = None,
    also: Sequence[str] = (),
) -> Verification:
    """Check files and graph, then compare every backend that works here with torch's recorded or fresh outputs.

    Backends are opened as the service opens them, so what is verified is what serves.

    Args:
        checkpoint: the one the artifact was made from; torch is then run at several shapes, traced and not.
        data: NYUv2 folder; with a checkpoint, the first `frames` test frames are compared too.
        threads: of runtimes on the CPU; 0 takes all cores this process may use.
        custom_ops: our library of kernels for ONNX Runtime.
        also: backends that need no file in the artifact, as `geminifusion serve --backend` takes them.

    Returns:
        The result; whether it passed is for the caller to check (`certificate.require_passed`).

    Raises:
        ArtifactError: a file is missing or damaged.
        ExportError: the checkpoint is not the one the artifact was made from.
        VerificationError: the graph is not what the metadata says, or `data` was given without a checkpoint or for
            another task than segmentation.
    """
    if data is not None and checkpoint is None:
        raise VerificationError("comparing labels on data needs the torch network; give --checkpoint too")
    metadata = open_artifact(artifact)
    verification = VERIFICATIONS[metadata.task]
    checks = [f"{len(metadata.files)} file(s) match their SHA-256", *_graph_checks(artifact / MODEL_NAME, metadata)]
    network = None if checkpoint is None else verification.torch_network.load()(checkpoint, metadata)  # imports torch
    on_data = () if network is None or data is None else network.on_data(data, frames)
    measurement = Measurement(open_candidates(artifact, metadata, threads, custom_ops=custom_ops, also=also), metadata)
    golden = verification.golden(artifact, metadata)
    outputs: Mapping[str, tuple[GraphOutputs, ...]] = {}
    if golden:
        outputs = measurement.measure_golden(golden)
    else:
        checks.append("no golden set in the artifact: nothing to measure without a checkpoint; export it again")
        recorded = Section(against="as recorded at export", reports=metadata.verification, measured_here=False)
        measurement.sections.append(recorded)
    if network is None:
        measurement.measure_against_onnx()
    else:
        expected, traced = network.references()
        measurement.measure_shapes("on random inputs, against torch", expected, traced)
        if on_data:
            labels = ", ".join(candidate.label for candidate in measurement.candidates)
            measurement.measure(f"on {len(on_data)} test frames, against torch ({labels})", [on_data])
        checks += network.remarks
    return Verification(certificate=certify(artifact, metadata, measurement, checks), golden=golden, outputs=outputs)


def _graph_checks(path: Path, metadata: ArtifactMetadata) -> list[str]:
    """Check that the file is a valid graph that holds what the metadata says; one sentence each."""
    try:
        import onnx

        from geminifusion_export.fusion_node import DOMAIN, OP_TYPE
    except ModuleNotFoundError as error:
        return [f'graph not examined: {error.name} is not installed; run: pip install "geminifusion[export]"']
    onnx.checker.check_model(str(path), full_check=True)
    model = onnx.load(path, load_external_data=False)
    nodes = sum(node.domain == DOMAIN and node.op_type == OP_TYPE for node in model.graph.node)
    functions = [f.name for f in model.functions]
    if metadata.fusion == "geminifusion" and (not nodes or OP_TYPE not in functions):
        raise VerificationError(f"{path} has {nodes} {OP_TYPE} nodes and functions {functions}; expected both")
    fusion = f"{nodes} {OP_TYPE} nodes with their function" if nodes else f"no {OP_TYPE} node"
    return [f"graph valid: opset {metadata.opset}, {fusion}, {metadata.precision}"]
