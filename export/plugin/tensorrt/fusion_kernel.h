// Launches the CUDA kernels of geminifusion::PixelwiseFusion. Knows no TensorRT.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace geminifusion {

enum class Element : int32_t { kFloat32, kFloat16, kBFloat16 };

// Row-major tensors `rows head_dim` on the device, dense, of one element type. A row is one head of one token, so a
// tensor `B N C` with G heads has B*N*G rows of C/G elements. `mixed` is written and overlaps none of the others.
struct FusionTensors {
  void const* q;
  void const* k_diff;
  void const* v_self;
  void const* v_cross;
  void* mixed;
};

// Enqueues one kernel on `stream`; none if there are no rows. Returns cudaErrorInvalidValue if head_dim < 1 or rows is
// outside 0 ... 2^31-1, or else what the launch returned.
cudaError_t launch_pixelwise_fusion(
    Element element, int64_t rows, int32_t head_dim, FusionTensors const& tensors, cudaStream_t stream);

}  // namespace geminifusion
