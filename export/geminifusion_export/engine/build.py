"""Building a TensorRT engine from an artifact's graph, and checking that it is what was asked for.

The network is strongly typed: its precision is that of the graph, never the builder's choice. Tested on the CPU with
NVIDIA's parser and builder.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from geminifusion_export.engine.inspection import LayerTypes, inspected_types, network_types, type_problem
from geminifusion_export.engine.profiles import default_profiles, profile_problem
from geminifusion_runtime.artifact import (
    MODEL_NAME,
    ArtifactMetadata,
    EngineRequirements,
    Precision,
    RuntimeFile,
    ShapeRange,
    open_artifact,
    sha256_of,
)
from geminifusion_runtime.backends.tensorrt.execution_context import bindings_of, require_contract
from geminifusion_runtime.backends.tensorrt.loading import (
    Messages,
    compute_capability,
    deserialize,
    import_tensorrt,
    load_plugin,
)
from geminifusion_runtime.backends.tensorrt.requirements import TensorRtError

if TYPE_CHECKING:
    import tensorrt as trt

ENGINE_NAME = "engine.plan"
HardwareCompatibility = Literal["none", "ampere_plus", "same_compute_capability"]


class EngineBuildError(TensorRtError):
    """An engine cannot be built here, or is not what was asked for."""


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """How to build an engine.

    Args:
        precision: what the engine must compute in; None takes the graph's own. Another one is rejected, not converted.
        profiles: shapes to build for; None takes `default_profiles` with `max_batch`.
        max_batch: of the default profiles.
        use_plugin: run the fusions in our plugin; otherwise in the operators of the function in the file.
        plugin: the plugin library; None builds it.
        timing_cache: a file with the timings of earlier builds on this kind of GPU; read if there, and written.
        hardware_compatibility: which other GPUs the engine should load on.
        optimization_level: TensorRT's, 0 to 5; higher builds slower and may run faster.
        workspace_gib: scratch memory a layer may use; None leaves it to TensorRT.
        device: the GPU to build on and for.

    Raises:
        ValueError: a number is out of its range.
    """

    precision: Precision | None = None
    profiles: tuple[ShapeRange, ...] | None = None
    max_batch: int = 8
    use_plugin: bool = True
    plugin: Path | None = None
    timing_cache: Path | None = None
    hardware_compatibility: HardwareCompatibility = "none"
    optimization_level: int = 3
    workspace_gib: float | None = None
    device: int = 0

    def __post_init__(self) -> None:
        if self.max_batch < 1:
            raise ValueError(f"max_batch is {self.max_batch}; expected 1 or more")
        if not 0 <= self.optimization_level <= 5:
            raise ValueError(f"optimization_level is {self.optimization_level}; expected 0 to 5")
        if self.workspace_gib is not None and not self.workspace_gib > 0:
            raise ValueError(f"workspace_gib is {self.workspace_gib}; expected a positive number")
        if self.plugin is not None and not self.use_plugin:
            raise ValueError("a plugin was given and use_plugin is off; choose one")


def build_engine(
    artifact: Path, directory: Path, options: EngineOptions
) -> tuple[RuntimeFile, EngineRequirements, tuple[Path, ...]]:
    """Build the engine of an artifact for the GPU of this machine.

    Args:
        artifact: a whole artifact.
        directory: where the engine, and the plugin if it needs one, are written; may be the artifact's own.

    Returns:
        The entry for `ArtifactMetadata.runtimes`, what the engine can be loaded with, and the files written.

    Raises:
        ArtifactError: the artifact is missing or damaged.
        EngineBuildError: TensorRT or a GPU is missing, the precision or the profiles do not fit the graph, TensorRT
            rejects it, or the engine does not compute as asked.
    """
    metadata = open_artifact(artifact)
    precision = _precision(metadata, options.precision)
    profiles = options.profiles or default_profiles(metadata.size, options.max_batch)
    if (problem := profile_problem(metadata.size, profiles)) is not None:
        raise EngineBuildError(f"{problem}; choose other profiles")
    if options.plugin is not None and not options.plugin.is_file():
        raise EngineBuildError(f"{options.plugin} is no file; build it: geminifusion export plugin --runtime tensorrt")
    model = artifact / MODEL_NAME
    num_fusions = _count_fusions(model) if options.use_plugin else 0
    try:
        version = import_tensorrt().__version__
        capability = compute_capability(options.device)
        plugin = _plugin(directory, options.plugin) if num_fusions else None
        plan = serialize(model, metadata, precision, profiles, options, plugin, num_fusions)
        path = directory / ENGINE_NAME
        path.write_bytes(plan)
        types = _inspect(plan, metadata, profiles, plugin)
    except TensorRtError as error:
        raise EngineBuildError(str(error)) from None
    if (problem := type_problem(types, precision, num_plugins=num_fusions)) is not None:
        path.unlink()
        raise EngineBuildError(f"the finished engine is not what was asked for: {problem}; report this with the log")
    requirements = EngineRequirements(
        tensorrt_version=version,
        compute_capability=capability,
        hardware_compatibility=options.hardware_compatibility,
        plugin_file=None if plugin is None else plugin.name,
        plugin_sha256=None if plugin is None else sha256_of(plugin),
        profiles=profiles,
        layer_precisions=types.all,
    )
    entry = RuntimeFile(runtime="tensorrt", file=ENGINE_NAME, precision=precision)
    return entry, requirements, (path,) if plugin is None else (path, plugin)


def serialize(
    model: Path,
    metadata: ArtifactMetadata,
    precision: Precision,
    profiles: tuple[ShapeRange, ...],
    options: EngineOptions,
    plugin: Path | None,
    num_fusions: int,
) -> bytes:
    """Parse the graph, check the parsed network, and build the engine; return its bytes.

    Raises:
        TensorRtError: TensorRT rejects the graph or the profiles, or the parsed network is not what was asked for.
    """
    import tensorrt as trt

    messages = Messages()
    logger = messages.logger()
    builder = trt.Builder(logger)
    if plugin is not None:
        load_plugin(builder.get_plugin_registry(), plugin, messages)
    network = _parse(model, builder, logger)
    if (problem := type_problem(network_types(network), precision, num_plugins=num_fusions)) is not None:
        raise TensorRtError(f"the parsed network is not what was asked for: {problem}; export the artifact again")
    config = builder.create_builder_config()
    config.builder_optimization_level = options.optimization_level
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # the inspector gives no types without it
    levels = trt.HardwareCompatibilityLevel
    config.hardware_compatibility_level = {
        "none": levels.NONE,
        "ampere_plus": levels.AMPERE_PLUS,
        "same_compute_capability": levels.SAME_COMPUTE_CAPABILITY,
    }[options.hardware_compatibility]
    if options.workspace_gib is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, int(options.workspace_gib * 2**30))
    for shapes in profiles:
        profile = builder.create_optimization_profile()
        for binding in bindings_of(metadata):
            if binding.is_input:
                ranges = (binding.shape(*shape) for shape in (shapes.minimum, shapes.optimum, shapes.maximum))
                profile.set_shape(binding.name, *ranges)
        if config.add_optimization_profile(profile) < 0:
            raise TensorRtError(f"TensorRT refuses the profile {shapes} ({messages.last_error()}); choose another")
    if options.timing_cache is not None:
        _read_timing_cache(config, options.timing_cache)
    plan = builder.build_serialized_network(network, config)
    # TensorRT only warns about it, and fails at the first small frame.
    if broken := [text for text in messages.warnings if "not self-consistent" in text]:
        raise TensorRtError(
            f"the network cannot run the smallest shape of a profile ({broken[0][:200]}); raise its minimum"
        )
    if plan is None:
        raise TensorRtError(
            f"TensorRT could not build the engine: {messages.last_error()}; free GPU memory or lower "
            "the profiles' maximum, and see the lines before"
        )
    if options.timing_cache is not None:
        _write_timing_cache(config, options.timing_cache)
    return bytes(memoryview(plan))


def _precision(metadata: ArtifactMetadata, asked: Precision | None) -> Precision:
    """The graph's own precision; rejects another one."""
    if asked is not None and asked != metadata.precision:
        raise EngineBuildError(
            f"an engine in {asked} was asked for, the graph computes in {metadata.precision}; TensorRT takes types "
            f"from the graph, so export the checkpoint with --precision {asked} first"
        )
    return metadata.precision


def _count_fusions(model: Path) -> int:
    import onnx

    from geminifusion_export.fusion_node import DOMAIN, OP_TYPE

    graph = onnx.load(model, load_external_data=False).graph
    return sum(node.domain == DOMAIN and node.op_type == OP_TYPE for node in graph.node)


def _plugin(directory: Path, given: Path | None) -> Path:
    """Copy or build the plugin's library; return its path in `directory`."""
    if given is None:
        from geminifusion_export.errors import PluginBuildError
        from geminifusion_export.kernels.plugin_build import build_tensorrt_plugin

        try:
            return build_tensorrt_plugin(directory)
        except PluginBuildError as error:
            raise EngineBuildError(str(error)) from None
    path = directory / given.name
    if given.resolve() != path.resolve():
        shutil.copyfile(given, path)
    return path


def _parse(model: Path, builder: trt.Builder, logger: trt.ILogger) -> trt.INetworkDefinition:
    import tensorrt as trt

    # Version 11 knows no other kind of network and ignores the flag with a warning.
    strongly_typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(strongly_typed if trt.__version__.startswith("10.") else 0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(model)):
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        first = (
            f"{errors[0].node_operator()} {errors[0].node_name()}: {errors[0].desc()}" if errors else "no reason given"
        )
        raise TensorRtError(f"TensorRT's parser refuses {model} ({first.strip()}); export the checkpoint again")
    return network


def _read_timing_cache(config: trt.IBuilderConfig, path: Path) -> None:
    """Start from earlier timings; those of another GPU or TensorRT are replaced."""
    for data in ([path.read_bytes()] if path.is_file() else []) + [b""]:
        if config.set_timing_cache(config.create_timing_cache(data), ignore_mismatch=False):
            return


def _write_timing_cache(config: trt.IBuilderConfig, path: Path) -> None:
    cache = config.get_timing_cache()
    if cache is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")  # two builds may share the file
    fresh.write_bytes(memoryview(cache.serialize()))
    fresh.replace(path)


def _inspect(
    plan: bytes, metadata: ArtifactMetadata, profiles: tuple[ShapeRange, ...], plugin: Path | None
) -> LayerTypes:
    """The types the finished engine computes in, from TensorRT's engine inspector.

    Raises:
        TensorRtError: the engine cannot be loaded, or the inspector gives no types.
    """
    import tensorrt as trt

    messages = Messages()
    logger = messages.logger()
    runtime = trt.Runtime(logger)
    if plugin is not None:
        load_plugin(runtime.get_plugin_registry(), plugin, messages)
    engine = deserialize(plan, runtime, messages, "the new engine")
    require_contract(engine, bindings_of(metadata), len(profiles))
    context = engine.create_execution_context()
    if context is None:
        raise TensorRtError(
            f"the new engine has no room on the GPU ({messages.last_error()}); lower the profiles' maximum"
        )
    for binding in bindings_of(metadata):
        if binding.is_input:
            context.set_input_shape(binding.name, binding.shape(*profiles[0].optimum))
    inspector = engine.create_engine_inspector()
    inspector.execution_context = context  # it gives no types of dynamic shapes otherwise
    try:
        return inspected_types(inspector.get_engine_information(trt.LayerInformationFormat.JSON))
    except ValueError as error:
        raise TensorRtError(f"the new engine cannot be inspected: {error}") from None
