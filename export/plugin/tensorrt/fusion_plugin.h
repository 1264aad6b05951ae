// geminifusion::PixelwiseFusion as a TensorRT plugin (IPluginV3), and its creator.
#pragma once

#include <NvInferRuntime.h>

#include <cstdint>

namespace geminifusion {

constexpr char const* kPluginName = "PixelwiseFusion";
constexpr char const* kPluginVersion = "1";
constexpr char const* kPluginNamespace = "geminifusion";

// `(q, k_diff, v_self, v_cross) -> mixed`, all of one shape `... C` and one of float32, float16, bfloat16, linear.
class PixelwiseFusionPlugin final : public nvinfer1::IPluginV3,
                                    public nvinfer1::IPluginV3OneCore,
                                    public nvinfer1::IPluginV3OneBuild,
                                    public nvinfer1::IPluginV3OneRuntime {
 public:
  explicit PixelwiseFusionPlugin(int32_t num_heads) noexcept;

  nvinfer1::IPluginCapability* getCapabilityInterface(nvinfer1::PluginCapabilityType type) noexcept override;
  nvinfer1::IPluginV3* clone() noexcept override;

  nvinfer1::AsciiChar const* getPluginName() const noexcept override { return kPluginName; }
  nvinfer1::AsciiChar const* getPluginVersion() const noexcept override { return kPluginVersion; }
  nvinfer1::AsciiChar const* getPluginNamespace() const noexcept override { return kPluginNamespace; }

  int32_t configurePlugin(nvinfer1::DynamicPluginTensorDesc const* in, int32_t num_inputs,
      nvinfer1::DynamicPluginTensorDesc const* out, int32_t num_outputs) noexcept override;
  int32_t getOutputDataTypes(nvinfer1::DataType* output_types, int32_t num_outputs,
      nvinfer1::DataType const* input_types, int32_t num_inputs) const noexcept override;
  int32_t getOutputShapes(nvinfer1::DimsExprs const* inputs, int32_t num_inputs, nvinfer1::DimsExprs const* shape_inputs,
      int32_t num_shape_inputs, nvinfer1::DimsExprs* outputs, int32_t num_outputs,
      nvinfer1::IExprBuilder& builder) noexcept override;
  bool supportsFormatCombination(int32_t position, nvinfer1::DynamicPluginTensorDesc const* in_out, int32_t num_inputs,
      int32_t num_outputs) noexcept override;
  int32_t getNbOutputs() const noexcept override { return 1; }
  char const* getTimingCacheID() noexcept override { return description_; }
  char const* getMetadataString() noexcept override { return description_; }

  int32_t onShapeChange(nvinfer1::PluginTensorDesc const* in, int32_t num_inputs, nvinfer1::PluginTensorDesc const* out,
      int32_t num_outputs) noexcept override;
  int32_t enqueue(nvinfer1::PluginTensorDesc const* input_desc, nvinfer1::PluginTensorDesc const* output_desc,
      void const* const* inputs, void* const* outputs, void* workspace, cudaStream_t stream) noexcept override;
  nvinfer1::IPluginV3* attachToContext(nvinfer1::IPluginResourceContext* context) noexcept override;
  nvinfer1::PluginFieldCollection const* getFieldsToSerialize() noexcept override;

 private:
  int32_t num_heads_;
  char description_[32];  // tells plugins apart in the timing cache and in the engine inspector
  nvinfer1::PluginField serialised_field_;
  nvinfer1::PluginFieldCollection serialised_fields_;
};

class PixelwiseFusionCreator final : public nvinfer1::IPluginCreatorV3One {
 public:
  PixelwiseFusionCreator() noexcept;

  // Null, and a logged message, unless the fields hold one positive int32 `num_heads`. Others are ignored.
  nvinfer1::IPluginV3* createPlugin(nvinfer1::AsciiChar const* name, nvinfer1::PluginFieldCollection const* fields,
      nvinfer1::TensorRTPhase phase) noexcept override;
  nvinfer1::PluginFieldCollection const* getFieldNames() noexcept override { return &fields_; }
  nvinfer1::AsciiChar const* getPluginName() const noexcept override { return kPluginName; }
  nvinfer1::AsciiChar const* getPluginVersion() const noexcept override { return kPluginVersion; }
  nvinfer1::AsciiChar const* getPluginNamespace() const noexcept override { return kPluginNamespace; }

 private:
  nvinfer1::PluginField field_;
  nvinfer1::PluginFieldCollection fields_;
};

}  // namespace geminifusion
