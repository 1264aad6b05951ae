#include <cstring>
#include <new>

#include "fusion_plugin.h"
#include "plugin_log.h"

namespace geminifusion {
namespace {

constexpr char const* kNumHeads = "num_heads";

// 0, and a logged message, unless the fields hold one positive int32 `num_heads`.
int32_t num_heads_of(nvinfer1::PluginFieldCollection const& fields) noexcept {
  int32_t num_heads = 0;
  for (int32_t i = 0; i < fields.nbFields; ++i) {
    nvinfer1::PluginField const& field = fields.fields[i];
    if (field.name == nullptr || std::strcmp(field.name, kNumHeads) != 0) {
      continue;
    }
    if (num_heads != 0) {
      log_error("PixelwiseFusion got num_heads twice; expected it once");
      return 0;
    }
    if (field.type != nvinfer1::PluginFieldType::kINT32 || field.length != 1 || field.data == nullptr) {
      log_error("PixelwiseFusion got num_heads of field type %d and length %d; expected one int32",
          static_cast<int>(field.type), field.length);
      return 0;
    }
    std::memcpy(&num_heads, field.data, sizeof(num_heads));
    if (num_heads < 1) {
      log_error("PixelwiseFusion got num_heads = %d; expected 1 or more", num_heads);
      return 0;
    }
  }
  if (num_heads == 0) {
    log_error("PixelwiseFusion got no field num_heads; expected one int32");
  }
  return num_heads;
}

}  // namespace

PixelwiseFusionCreator::PixelwiseFusionCreator() noexcept
    : field_(kNumHeads, nullptr, nvinfer1::PluginFieldType::kINT32, 1), fields_{1, &field_} {}

nvinfer1::IPluginV3* PixelwiseFusionCreator::createPlugin(nvinfer1::AsciiChar const*,
    nvinfer1::PluginFieldCollection const* fields, nvinfer1::TensorRTPhase) noexcept {
  if (fields == nullptr) {
    log_error("PixelwiseFusion got no fields; expected one int32 num_heads");
    return nullptr;
  }
  int32_t const num_heads = num_heads_of(*fields);
  if (num_heads == 0) {
    return nullptr;
  }
  auto* const plugin = new (std::nothrow) PixelwiseFusionPlugin(num_heads);
  if (plugin == nullptr) {
    log_error("PixelwiseFusion could not be created: out of memory");
  }
  return plugin;
}

}  // namespace geminifusion
