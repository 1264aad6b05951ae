// The kernels as a library of their own, with a C interface and without TensorRT: they can be launched, measured and
// compared with the specification on a machine that has nothing but a compiler.
#include "fusion_kernel.h"

#define GEMINIFUSION_EXPORT extern "C" __attribute__((visibility("default")))

// `launch_pixelwise_fusion` with an element type of 0 float32, 1 float16, 2 bfloat16; what it returns, 0 for success.
GEMINIFUSION_EXPORT int32_t geminifusion_pixelwise_fusion(int32_t element, int64_t rows, int32_t head_dim,
    void const* q, void const* k_diff, void const* v_self, void const* v_cross, void* mixed, void* stream) {
  if (element < 0 || element > static_cast<int32_t>(geminifusion::Element::kBFloat16)) {
    return cudaErrorInvalidValue;
  }
  geminifusion::FusionTensors const tensors{q, k_diff, v_self, v_cross, mixed};
  return geminifusion::launch_pixelwise_fusion(static_cast<geminifusion::Element>(element), rows, head_dim, tensors,
      static_cast<cudaStream_t>(stream));
}

// What CUDA says about such a number.
GEMINIFUSION_EXPORT char const* geminifusion_error_text(int32_t error) {
  return cudaGetErrorString(static_cast<cudaError_t>(error));
}
