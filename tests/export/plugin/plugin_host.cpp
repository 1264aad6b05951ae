// TensorRT, as far as the plugin library sees it, for tests without a GPU: does with the library what TensorRT does, one
// call at a time, through a C interface. CUDA's runtime is stood in for by cuda_runtime.h.
#include <NvInferRuntime.h>
#include <dlfcn.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "cuda_runtime.h"

namespace {

using namespace nvinfer1;

struct Recorder final : ILogger {
  std::string messages;
  void log(Severity severity, AsciiChar const* message) noexcept override {
    messages += (severity == Severity::kERROR ? "error: " : "other: ") + std::string(message) + "\n";
  }
};
Recorder recorder;

struct Finder final : ILoggerFinder {
  ILogger* findLogger() override { return &recorder; }
};
Finder finder;

struct Symbol final : IDimensionExpr, apiv::VDimensionExpr {
  Symbol() { mImpl = this; }
  bool isConstant() const override { return false; }
  int64_t getConstantValue() const override { return INT64_MIN; }
  bool isSizeTensor() const override { return false; }
};

// Of no use to an op whose output has an input's shape, and says so.
struct RefusingBuilder final : IExprBuilder, apiv::VExprBuilder {
  bool asked = false;
  RefusingBuilder() { mImpl = this; }
  IDimensionExpr const* constant(int64_t) override { return refuse(); }
  IDimensionExpr const* operation(DimensionOperation, IDimensionExpr const&, IDimensionExpr const&) override {
    return refuse();
  }
  IDimensionExpr const* declareSizeTensor(int32_t, IDimensionExpr const&, IDimensionExpr const&) override {
    return refuse();
  }
  IDimensionExpr const* refuse() {
    asked = true;
    return nullptr;
  }
};

IPluginCreatorV3One* creator = nullptr;

IPluginV3OneBuild& build_of(IPluginV3* plugin) {
  return *static_cast<IPluginV3OneBuild*>(plugin->getCapabilityInterface(PluginCapabilityType::kBUILD));
}
IPluginV3OneRuntime& runtime_of(IPluginV3* plugin) {
  return *static_cast<IPluginV3OneRuntime*>(plugin->getCapabilityInterface(PluginCapabilityType::kRUNTIME));
}

PluginTensorDesc description(int32_t type, int32_t num_dims, int64_t const* dims) {
  PluginTensorDesc desc{};
  desc.dims.nbDims = num_dims;
  for (int32_t i = 0; i < num_dims; ++i) {
    desc.dims.d[i] = dims[i];
  }
  desc.type = static_cast<DataType>(type);
  desc.format = TensorFormat::kLINEAR;
  desc.scale = 1.0F;
  return desc;
}

}  // namespace


STAND_IN char const* host_take_messages() {
  static std::string taken;
  taken.swap(recorder.messages);
  recorder.messages.clear();
  return taken.c_str();
}

// How many creators the library has, or -1 if it lacks a function; remembers the first.
STAND_IN int host_open(char const* path) {
  void* const library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    recorder.messages += dlerror();
    return -1;
  }
  auto const get = reinterpret_cast<IPluginCreatorInterface* const* (*)(int32_t&)>(dlsym(library, "getCreators"));
  auto const set_finder = reinterpret_cast<void (*)(ILoggerFinder*)>(dlsym(library, "setLoggerFinder"));
  if (get == nullptr || set_finder == nullptr) {
    return -1;
  }
  set_finder(&finder);
  int32_t count = 0;
  auto* const creators = get(count);
  if (count > 0 && std::strcmp(creators[0]->getInterfaceInfo().kind, "PLUGIN CREATOR_V3ONE") == 0) {
    creator = static_cast<IPluginCreatorV3One*>(creators[0]);
  }
  return count;
}

STAND_IN char const* host_creator_name() { return creator->getPluginName(); }
STAND_IN char const* host_creator_version() { return creator->getPluginVersion(); }
STAND_IN char const* host_creator_namespace() { return creator->getPluginNamespace(); }
STAND_IN char const* host_creator_field(int32_t i) { return creator->getFieldNames()->fields[i].name; }
STAND_IN int32_t host_creator_num_fields() { return creator->getFieldNames()->nbFields; }

STAND_IN IPluginV3* host_create(
    int32_t num_fields, char const* const* names, int32_t const* types, int32_t const* lengths, void const* const* data) {
  std::vector<PluginField> fields;
  for (int32_t i = 0; i < num_fields; ++i) {
    fields.emplace_back(names[i], data[i], static_cast<PluginFieldType>(types[i]), lengths[i]);
  }
  PluginFieldCollection const collection{num_fields, fields.data()};
  return creator->createPlugin("fusion", num_fields < 0 ? nullptr : &collection, TensorRTPhase::kBUILD);
}

STAND_IN IPluginV3* host_clone(IPluginV3* plugin) { return plugin->clone(); }
STAND_IN IPluginV3* host_attach(IPluginV3* plugin) { return runtime_of(plugin).attachToContext(nullptr); }
STAND_IN void host_destroy(IPluginV3* plugin) { delete plugin; }

// What an engine file does: the fields as bytes, and a plugin created from a copy of them.
STAND_IN IPluginV3* host_recreate(IPluginV3* plugin) {
  PluginFieldCollection const& fields = *runtime_of(plugin).getFieldsToSerialize();
  if (fields.nbFields != 1 || fields.fields[0].length != 1 || fields.fields[0].type != PluginFieldType::kINT32) {
    return nullptr;
  }
  int32_t copied = 0;
  std::memcpy(&copied, fields.fields[0].data, sizeof(copied));
  PluginField const field(fields.fields[0].name, &copied, PluginFieldType::kINT32, 1);
  PluginFieldCollection const collection{1, &field};
  return creator->createPlugin("fusion", &collection, TensorRTPhase::kRUNTIME);
}

STAND_IN char const* host_timing_cache_id(IPluginV3* plugin) { return build_of(plugin).getTimingCacheID(); }
STAND_IN int32_t host_num_outputs(IPluginV3* plugin) { return build_of(plugin).getNbOutputs(); }

// The output's type, or -1 if the plugin refused.
STAND_IN int32_t host_output_type(IPluginV3* plugin, int32_t const* types, int32_t num_inputs) {
  std::vector<DataType> inputs;
  for (int32_t i = 0; i < num_inputs; ++i) {
    inputs.push_back(static_cast<DataType>(types[i]));
  }
  DataType output{};
  return build_of(plugin).getOutputDataTypes(&output, 1, inputs.data(), num_inputs) == 0 ? static_cast<int32_t>(output)
                                                                                         : -1;
}

// 1 if the output's axes are those of the first input, expression by expression.
STAND_IN int32_t host_output_has_shape_of_q(IPluginV3* plugin, int32_t num_dims) {
  static Symbol symbols[4][Dims::MAX_DIMS];
  DimsExprs inputs[4]{};
  for (int32_t i = 0; i < 4; ++i) {
    inputs[i].nbDims = num_dims;
    for (int32_t axis = 0; axis < num_dims; ++axis) {
      inputs[i].d[axis] = &symbols[i][axis];
    }
  }
  DimsExprs output{};
  RefusingBuilder builder;
  if (build_of(plugin).getOutputShapes(inputs, 4, nullptr, 0, &output, 1, builder) != 0 || builder.asked) {
    return 0;
  }
  bool same = output.nbDims == num_dims;
  for (int32_t axis = 0; same && axis < num_dims; ++axis) {
    same = output.d[axis] == inputs[0].d[axis];
  }
  return same ? 1 : 0;
}

// 1 if the plugin takes these types and formats, asked position after position as the builder asks.
STAND_IN int32_t host_supports(IPluginV3* plugin, int32_t const* types, int32_t const* formats) {
  DynamicPluginTensorDesc descs[5]{};
  int64_t const dims[3] = {2, 3, 32};
  for (int32_t i = 0; i < 5; ++i) {
    // what lies behind the position is undefined to the plugin
    for (int32_t j = 0; j < 5; ++j) {
      descs[j].desc = description(j <= i ? types[j] : -1, 3, dims);
      descs[j].desc.format = static_cast<TensorFormat>(j <= i ? formats[j] : -1);
    }
    if (!build_of(plugin).supportsFormatCombination(i, descs, 4, 1)) {
      return 0;
    }
  }
  return 1;
}

STAND_IN int32_t host_configure(IPluginV3* plugin, int32_t type, int32_t num_dims, int64_t const* dims, int32_t inputs) {
  DynamicPluginTensorDesc descs[5]{};
  for (auto& desc : descs) {
    desc.desc = description(type, num_dims, dims);
  }
  return build_of(plugin).configurePlugin(descs, inputs, &descs[4], 1);
}

// `dims` and `types` of q, k_diff, v_self, v_cross and mixed.
STAND_IN int32_t host_shape_change(IPluginV3* plugin, int32_t const* types, int32_t num_dims, int64_t const* dims) {
  PluginTensorDesc descs[5];
  for (int32_t i = 0; i < 5; ++i) {
    descs[i] = description(types[i], num_dims, dims + i * num_dims);
  }
  return runtime_of(plugin).onShapeChange(descs, 4, &descs[4], 1);
}

STAND_IN int32_t host_enqueue(
    IPluginV3* plugin, int32_t type, int32_t num_dims, int64_t const* dims, void* const* tensors) {
  PluginTensorDesc descs[5];
  for (auto& desc : descs) {
    desc = description(type, num_dims, dims);
  }
  void const* const inputs[4] = {tensors[0], tensors[1], tensors[2], tensors[3]};
  return runtime_of(plugin).enqueue(
      descs, &descs[4], inputs, &tensors[4], nullptr, reinterpret_cast<cudaStream_t>(kStream));
}
