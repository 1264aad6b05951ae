// The formula of geminifusion::PixelwiseFusion, shared by the CUDA and the CPU kernel (GeminiFusion, arXiv:2406.01210).
//
// A softmax over two keys is a sigmoid of the difference of their logits, so with k_diff = k_self - k_cross, per head
//     w     = sigmoid(q . k_diff / sqrt(head_dim))
//     mixed = v_cross + w * (v_self - v_cross)
// Sums and weights are float whatever the tensors are.
#pragma once

#include <cmath>

#if defined(__CUDACC__)
#define GEMINIFUSION_INLINE __host__ __device__ __forceinline__
#else
#define GEMINIFUSION_INLINE inline
#endif

namespace geminifusion {

// Share of the own stream, 0...1. `dot` is q . k_diff of one head.
GEMINIFUSION_INLINE float own_weight(float dot, float inverse_root_of_head_dim) {
  return 1.0F / (1.0F + expf(-dot * inverse_root_of_head_dim));
}

GEMINIFUSION_INLINE float mix(float own, float cross, float weight) { return cross + weight * (own - cross); }

}  // namespace geminifusion
