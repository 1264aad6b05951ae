#include "fusion_plugin.h"

#include <cstdio>
#include <new>

#include "fusion_kernel.h"
#include "plugin_log.h"

namespace geminifusion {
namespace {

using nvinfer1::DataType;
using nvinfer1::PluginTensorDesc;

constexpr int32_t kNumInputs = 4;
constexpr int32_t kNumOutputs = 1;
constexpr int32_t kFailure = -1;
constexpr char const* kTensorNames[] = {"q", "k_diff", "v_self", "v_cross", "mixed"};

bool is_supported(DataType type) noexcept {
  return type == DataType::kFLOAT || type == DataType::kHALF || type == DataType::kBF16;
}

bool has_expected_counts(int32_t num_inputs, int32_t num_outputs) noexcept {
  if (num_inputs == kNumInputs && num_outputs == kNumOutputs) {
    return true;
  }
  log_error("PixelwiseFusion got %d inputs and %d outputs; expected 4 (q, k_diff, v_self, v_cross) and 1 (mixed)",
      num_inputs, num_outputs);
  return false;
}

// Size of the last axis, -1 while it is unknown, or 0 if there is none.
int64_t channels_of(nvinfer1::Dims const& dims) noexcept { return dims.nbDims > 0 ? dims.d[dims.nbDims - 1] : 0; }

bool heads_divide_channels(nvinfer1::Dims const& dims, int32_t num_heads) noexcept {
  int64_t const channels = channels_of(dims);
  if (channels == -1 || (channels > 0 && channels % num_heads == 0)) {
    return true;
  }
  log_error("PixelwiseFusion got %lld channels; expected a positive multiple of num_heads = %d",
      static_cast<long long>(channels), num_heads);
  return false;
}

bool has_shape_of_q(PluginTensorDesc const& desc, PluginTensorDesc const& q, char const* name) noexcept {
  bool same = desc.dims.nbDims == q.dims.nbDims && desc.type == q.type;
  for (int32_t axis = 0; same && axis < q.dims.nbDims; ++axis) {
    same = desc.dims.d[axis] == q.dims.d[axis];
  }
  if (!same) {
    log_error("PixelwiseFusion got %s of another shape or type than q; expected all tensors alike", name);
  }
  return same;
}

}  // namespace

PixelwiseFusionPlugin::PixelwiseFusionPlugin(int32_t num_heads) noexcept
    : num_heads_(num_heads),
      serialised_field_("num_heads", &num_heads_, nvinfer1::PluginFieldType::kINT32, 1),
      serialised_fields_{1, &serialised_field_} {
  std::snprintf(description_, sizeof(description_), "num_heads=%d", num_heads);
}

nvinfer1::IPluginCapability* PixelwiseFusionPlugin::getCapabilityInterface(
    nvinfer1::PluginCapabilityType type) noexcept {
  switch (type) {
    case nvinfer1::PluginCapabilityType::kCORE: return static_cast<nvinfer1::IPluginV3OneCore*>(this);
    case nvinfer1::PluginCapabilityType::kBUILD: return static_cast<nvinfer1::IPluginV3OneBuild*>(this);
    case nvinfer1::PluginCapabilityType::kRUNTIME: return static_cast<nvinfer1::IPluginV3OneRuntime*>(this);
  }
  log_error("PixelwiseFusion has no capability %d", static_cast<int>(type));
  return nullptr;
}

nvinfer1::IPluginV3* PixelwiseFusionPlugin::clone() noexcept {
  auto* const copy = new (std::nothrow) PixelwiseFusionPlugin(num_heads_);
  if (copy == nullptr) {
    log_error("PixelwiseFusion could not be cloned: out of memory");
  }
  return copy;
}

int32_t PixelwiseFusionPlugin::configurePlugin(nvinfer1::DynamicPluginTensorDesc const* in, int32_t num_inputs,
    nvinfer1::DynamicPluginTensorDesc const*, int32_t num_outputs) noexcept {
  if (!has_expected_counts(num_inputs, num_outputs)) {
    return kFailure;
  }
  return heads_divide_channels(in[0].desc.dims, num_heads_) ? 0 : kFailure;
}

int32_t PixelwiseFusionPlugin::getOutputDataTypes(
    DataType* output_types, int32_t num_outputs, DataType const* input_types, int32_t num_inputs) const noexcept {
  if (!has_expected_counts(num_inputs, num_outputs)) {
    return kFailure;
  }
  for (int32_t i = 0; i < num_inputs; ++i) {
    if (input_types[i] != input_types[0] || !is_supported(input_types[i])) {
      log_error("PixelwiseFusion got %s of type %d and q of type %d; expected float32, float16 or bfloat16 for all",
          kTensorNames[i], static_cast<int>(input_types[i]), static_cast<int>(input_types[0]));
      return kFailure;
    }
  }
  output_types[0] = input_types[0];
  return 0;
}

int32_t PixelwiseFusionPlugin::getOutputShapes(nvinfer1::DimsExprs const* inputs, int32_t num_inputs,
    nvinfer1::DimsExprs const*, int32_t, nvinfer1::DimsExprs* outputs, int32_t num_outputs,
    nvinfer1::IExprBuilder&) noexcept {
  if (!has_expected_counts(num_inputs, num_outputs)) {
    return kFailure;
  }
  outputs[0] = inputs[0];
  return 0;
}

bool PixelwiseFusionPlugin::supportsFormatCombination(int32_t position,
    nvinfer1::DynamicPluginTensorDesc const* in_out, int32_t num_inputs, int32_t num_outputs) noexcept {
  if (num_inputs != kNumInputs || num_outputs != kNumOutputs || position < 0 || position >= kNumInputs + kNumOutputs) {
    return false;
  }
  // Only descriptions up to `position` are filled in.
  PluginTensorDesc const& desc = in_out[position].desc;
  return desc.format == nvinfer1::TensorFormat::kLINEAR && is_supported(desc.type) &&
      desc.type == in_out[0].desc.type;
}

int32_t PixelwiseFusionPlugin::onShapeChange(
    PluginTensorDesc const* in, int32_t num_inputs, PluginTensorDesc const* out, int32_t num_outputs) noexcept {
  if (!has_expected_counts(num_inputs, num_outputs) || !heads_divide_channels(in[0].dims, num_heads_)) {
    return kFailure;
  }
  for (int32_t i = 1; i < num_inputs; ++i) {
    if (!has_shape_of_q(in[i], in[0], kTensorNames[i])) {
      return kFailure;
    }
  }
  return has_shape_of_q(out[0], in[0], kTensorNames[kNumInputs]) ? 0 : kFailure;
}

int32_t PixelwiseFusionPlugin::enqueue(PluginTensorDesc const* input_desc, PluginTensorDesc const*,
    void const* const* inputs, void* const* outputs, void*, cudaStream_t stream) noexcept {
  nvinfer1::Dims const& dims = input_desc[0].dims;
  int64_t rows = num_heads_;
  for (int32_t axis = 0; axis + 1 < dims.nbDims; ++axis) {
    rows *= dims.d[axis];
  }
  int64_t const head_dim = channels_of(dims) / num_heads_;
  if (head_dim > INT32_MAX) {
    log_error("PixelwiseFusion got heads of %lld channels; expected fewer than 2^31", static_cast<long long>(head_dim));
    return kFailure;
  }
  Element element;
  switch (input_desc[0].type) {
    case DataType::kFLOAT: element = Element::kFloat32; break;
    case DataType::kHALF: element = Element::kFloat16; break;
    case DataType::kBF16: element = Element::kBFloat16; break;
    default:
      log_error("PixelwiseFusion got type %d; expected float32, float16 or bfloat16",
          static_cast<int>(input_desc[0].type));
      return kFailure;
  }
  FusionTensors const tensors{inputs[0], inputs[1], inputs[2], inputs[3], outputs[0]};
  cudaError_t const status =
      launch_pixelwise_fusion(element, rows, static_cast<int32_t>(head_dim), tensors, stream);
  if (status != cudaSuccess) {
    log_error("PixelwiseFusion could not be launched for %lld rows of %lld channels: %s", static_cast<long long>(rows),
        static_cast<long long>(head_dim), cudaGetErrorString(status));
    return kFailure;
  }
  return 0;
}

nvinfer1::IPluginV3* PixelwiseFusionPlugin::attachToContext(nvinfer1::IPluginResourceContext*) noexcept {
  return clone();
}

nvinfer1::PluginFieldCollection const* PixelwiseFusionPlugin::getFieldsToSerialize() noexcept {
  return &serialised_fields_;
}

}  // namespace geminifusion
