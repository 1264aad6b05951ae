// A pair is one head of one pixel. Pairs lie back to back, so a block of them is worked on as plain arrays that fit the
// first-level cache: products, their sums per pair, weights, weights repeated per channel, mixture. Each step is a loop
// without branches over contiguous floats, whatever the width of a head is.
#include "fusion_kernel.h"

#include <algorithm>
#include <cmath>

#include "../pixelwise_fusion_math.h"
#include "element.h"
#include "instruction_sets.h"

namespace geminifusion {
namespace {

constexpr size_t kBlock = 1024;  // floats of one scratch array: two of them and five streams stay in 32 KiB

// 1 / (1 + exp(-x)), the own_weight of the shared header for a loop: std::exp would keep it from being vectorised.
// exp(-x) is 2^n · exp(r) with |r| <= ln(2)/2 and a polynomial of degree 7 for exp(r), off by less than 2 ulp.
GEMINIFUSION_ALWAYS_INLINE float sigmoid(float x) {
  // beyond these the result is 1, or smaller than the smallest normal float; comparisons let a NaN pass
  float y = -x;
  y = y < -87.0F ? -87.0F : y;
  y = y > 88.0F ? 88.0F : y;
  const float shifted = y * 1.44269504F + 12582912.0F;  // 1.5 · 2^23: the sum's last bits are the rounded integer
  const float n = shifted - 12582912.0F;
  const float r = (y - n * 0.693145752F) - n * 1.42860677e-6F;  // ln(2) in two parts, the first exact times n
  float p = 1.0F / 5040.0F;
  p = p * r + 1.0F / 720.0F;
  p = p * r + 1.0F / 120.0F;
  p = p * r + 1.0F / 24.0F;
  p = p * r + 1.0F / 6.0F;
  p = p * r + 0.5F;
  p = p * r + 1.0F;
  p = p * r + 1.0F;
  const float power = float_of((bits_of(shifted) + 127U) << 23);
  return 1.0F / (1.0F + p * power);
}

// Sums of `count` runs of `width` floats each, in place, into the first `count` floats: neighbours are added until the
// width is odd, then run by run. Every step reads ahead of where it writes.
GEMINIFUSION_ALWAYS_INLINE void sum_runs(float* values, size_t count, size_t width, float* spare) {
  float* source = values;
  float* target = spare;
  while (width % 2 == 0) {
    width /= 2;
    const size_t n = count * width;
    for (size_t i = 0; i < n; ++i) target[i] = source[2 * i] + source[2 * i + 1];
    std::swap(source, target);
  }
  if (width > 1) {
    for (size_t i = 0; i < count; ++i) {
      float sum = 0.0F;
      for (size_t d = 0; d < width; ++d) sum += source[i * width + d];
      target[i] = sum;
    }
    std::swap(source, target);
  }
  if (source != values) std::copy_n(source, count, values);
}

// A head wider than a block: one pair after the other, by the shared header.
template <typename Element>
GEMINIFUSION_ALWAYS_INLINE void fuse_wide(const FusionArguments<Element>& a, size_t first, size_t last) {
  const float inverse_root = 1.0F / std::sqrt(static_cast<float>(a.head_dim));
  for (size_t pair = first; pair < last; ++pair) {
    const size_t begin = pair * a.head_dim;
    float dot = 0.0F;
    for (size_t i = begin; i < begin + a.head_dim; ++i) dot += widen(a.q[i]) * widen(a.k_diff[i]);
    const float weight = own_weight(dot, inverse_root);
    for (size_t i = begin; i < begin + a.head_dim; ++i) {
      a.mixed[i] = narrow<Element>(mix(widen(a.v_self[i]), widen(a.v_cross[i]), weight));
    }
  }
}

template <typename Element>
GEMINIFUSION_ALWAYS_INLINE void fuse(const FusionArguments<Element>& a, size_t first, size_t last) {
  const size_t head_dim = a.head_dim;
  if (head_dim > kBlock) return fuse_wide(a, first, last);
  const float inverse_root = 1.0F / std::sqrt(static_cast<float>(head_dim));
  const size_t pairs_per_block = kBlock / head_dim;
  alignas(64) float products[kBlock];
  alignas(64) float spare[kBlock];
  for (size_t pair = first; pair < last; pair += pairs_per_block) {
    const size_t count = std::min(pairs_per_block, last - pair);
    const size_t elements = count * head_dim;
    const Element* q = a.q + pair * head_dim;
    const Element* k_diff = a.k_diff + pair * head_dim;
    for (size_t i = 0; i < elements; ++i) products[i] = widen(q[i]) * widen(k_diff[i]);
    sum_runs(products, count, head_dim, spare);
    for (size_t i = 0; i < count; ++i) products[i] = sigmoid(products[i] * inverse_root);
    const Element* v_self = a.v_self + pair * head_dim;
    const Element* v_cross = a.v_cross + pair * head_dim;
    Element* mixed = a.mixed + pair * head_dim;
    for (size_t i = 0, p = 0; p < count; ++p) {
      const float weight = products[p];
      for (size_t d = 0; d < head_dim; ++d, ++i) {
        mixed[i] = narrow<Element>(mix(widen(v_self[i]), widen(v_cross[i]), weight));
      }
    }
  }
}

#if defined(__x86_64__)
template <typename Element>
GEMINIFUSION_TARGET_AVX512 void fuse_avx512(const FusionArguments<Element>& a, size_t first, size_t last) {
  fuse(a, first, last);
}
template <typename Element>
GEMINIFUSION_TARGET_AVX2 void fuse_avx2(const FusionArguments<Element>& a, size_t first, size_t last) {
  fuse(a, first, last);
}
#endif
template <typename Element>
void fuse_portable(const FusionArguments<Element>& a, size_t first, size_t last) {
  fuse(a, first, last);
}

}  // namespace

template <typename Element>
FusionKernel<Element>* fusion_kernel() {
#if defined(__x86_64__)
  return best(&fuse_avx512<Element>, &fuse_avx2<Element>, &fuse_portable<Element>);
#else
  return &fuse_portable<Element>;
#endif
}

template FusionKernel<float>* fusion_kernel<float>();
template FusionKernel<Float16>* fusion_kernel<Float16>();
template FusionKernel<BFloat16>* fusion_kernel<BFloat16>();

}  // namespace geminifusion
