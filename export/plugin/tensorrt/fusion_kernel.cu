// The CUDA kernels of geminifusion::PixelwiseFusion.
//
// The op does one multiplication or so per byte it moves, so memory is its limit: each input is read once, the output
// is written once, in vectors of up to 16 bytes, and nothing passes through shared memory. 1 to 32 neighbouring lanes of
// a warp share a row (one head of one token); they add up q . k_diff by shuffles.
//
// The kernels have C names and take only pointers and int32, inputs first and the output last, so that their PTX can be
// launched by name from anywhere (TensorRT's ahead-of-time plugins ask for this order).
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstring>

#include "../pixelwise_fusion_math.h"
#include "fusion_kernel.h"

namespace geminifusion {
namespace {

constexpr int32_t kWarp = 32;
constexpr int32_t kThreads = 256;
constexpr int64_t kMaxBlocks = 65535;  // beyond, a warp takes several rows in turn
constexpr int32_t kVectorBytes = 16;   // what one lane can load at once

__device__ __forceinline__ float widen(float value) { return value; }
__device__ __forceinline__ float widen(__half value) { return __half2float(value); }
__device__ __forceinline__ float widen(__nv_bfloat16 value) { return __bfloat162float(value); }

template <typename Scalar>
__device__ __forceinline__ Scalar narrow(float value);
template <>
__device__ __forceinline__ float narrow<float>(float value) {
  return value;
}
template <>
__device__ __forceinline__ __half narrow<__half>(float value) {
  return __float2half_rn(value);
}
template <>
__device__ __forceinline__ __nv_bfloat16 narrow<__nv_bfloat16>(float value) {
  return __float2bfloat16_rn(value);
}

__device__ __forceinline__ unsigned int bits_of(float value) { return __float_as_uint(value); }
__device__ __forceinline__ unsigned int bits_of(__half value) { return __half_as_ushort(value); }
__device__ __forceinline__ unsigned int bits_of(__nv_bfloat16 value) { return __bfloat16_as_ushort(value); }

// What the hardware moves in one instruction, by its size in bytes.
template <int kBytes>
struct Word;
template <>
struct Word<2> {
  using Type = unsigned short;
  static __device__ __forceinline__ Type of(unsigned int const* words) { return static_cast<Type>(words[0]); }
};
template <>
struct Word<4> {
  using Type = unsigned int;
  static __device__ __forceinline__ Type of(unsigned int const* words) { return words[0]; }
};
template <>
struct Word<8> {
  using Type = uint2;
  static __device__ __forceinline__ Type of(unsigned int const* words) { return make_uint2(words[0], words[1]); }
};
template <>
struct Word<16> {
  using Type = uint4;
  static __device__ __forceinline__ Type of(unsigned int const* words) {
    return make_uint4(words[0], words[1], words[2], words[3]);
  }
};

template <typename Scalar, int kWidth>
struct Vector {
  using Moved = Word<sizeof(Scalar) * kWidth>;
  Scalar at[kWidth];

  static __device__ __forceinline__ Vector load(Scalar const* from) {
    typename Moved::Type const bits = __ldg(reinterpret_cast<typename Moved::Type const*>(from));
    Vector vector;
    memcpy(&vector, &bits, sizeof(bits));
    return vector;
  }

  __device__ __forceinline__ void store(Scalar* to) const {
    constexpr int kPerWord = sizeof(unsigned int) / sizeof(Scalar);
    unsigned int words[(kWidth + kPerWord - 1) / kPerWord] = {};
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      words[j / kPerWord] |= bits_of(at[j]) << (j % kPerWord * 16);
    }
    // An assignment is compiled into one store for each component; this is one instruction.
    __stwb(reinterpret_cast<typename Moved::Type*>(to), Moved::of(words));
  }
};

template <typename Scalar, int kWidth>
__device__ __forceinline__ void fuse(Scalar const* __restrict__ q, Scalar const* __restrict__ k_diff,
    Scalar const* __restrict__ v_self, Scalar const* __restrict__ v_cross, int32_t rows, int32_t head_dim,
    int32_t lanes_log2, Scalar* __restrict__ mixed) {
  using Lane = Vector<Scalar, kWidth>;
  int32_t const lanes = 1 << lanes_log2;
  int32_t const lane = threadIdx.x % kWarp;
  int32_t const first = (lane & (lanes - 1)) * kWidth;
  int32_t const stride = lanes * kWidth;
  int32_t const rows_of_warp = kWarp >> lanes_log2;
  int64_t const warp = static_cast<int64_t>(blockIdx.x) * (kThreads / kWarp) + threadIdx.x / kWarp;
  int64_t const warps = static_cast<int64_t>(gridDim.x) * (kThreads / kWarp);
  float const inverse_root = rsqrtf(static_cast<float>(head_dim));

  // The condition is the same for the whole warp: its lanes shuffle together or not at all.
  for (int64_t base = warp * rows_of_warp; base < rows; base += warps * rows_of_warp) {
    int64_t const row = base + (lane >> lanes_log2);
    int32_t const end = row < rows ? head_dim : 0;
    int64_t const begin = row * head_dim;

    // Both values are asked for before the sum, whose wait they share.
    Lane own{};
    Lane cross{};
    if (first < end) {
      own = Lane::load(v_self + begin + first);
      cross = Lane::load(v_cross + begin + first);
    }
    float dot = 0.0F;
    for (int32_t i = first; i < end; i += stride) {
      Lane const query = Lane::load(q + begin + i);
      Lane const key = Lane::load(k_diff + begin + i);
#pragma unroll
      for (int j = 0; j < kWidth; ++j) {
        dot = fmaf(widen(query.at[j]), widen(key.at[j]), dot);
      }
    }
    for (int32_t offset = lanes / 2; offset > 0; offset /= 2) {
      dot += __shfl_xor_sync(0xffffffffU, dot, offset);
    }
    float const weight = own_weight(dot, inverse_root);
    for (int32_t i = first; i < end; i += stride) {
      if (i != first) {
        own = Lane::load(v_self + begin + i);
        cross = Lane::load(v_cross + begin + i);
      }
      Lane result;
#pragma unroll
      for (int j = 0; j < kWidth; ++j) {
        result.at[j] = narrow<Scalar>(mix(widen(own.at[j]), widen(cross.at[j]), weight));
      }
      result.store(mixed + begin + i);
    }
  }
}

}  // namespace
}  // namespace geminifusion

#define GEMINIFUSION_KERNEL(name, Scalar, width)                                                                 \
  extern "C" __global__ void __launch_bounds__(geminifusion::kThreads)                                           \
      geminifusion_pixelwise_fusion_##name##_x##width(Scalar const* q, Scalar const* k_diff,                     \
          Scalar const* v_self, Scalar const* v_cross, int32_t rows, int32_t head_dim, int32_t lanes_log2,       \
          Scalar* mixed) {                                                                                       \
    geminifusion::fuse<Scalar, width>(q, k_diff, v_self, v_cross, rows, head_dim, lanes_log2, mixed);            \
  }

GEMINIFUSION_KERNEL(f32, float, 1)
GEMINIFUSION_KERNEL(f32, float, 2)
GEMINIFUSION_KERNEL(f32, float, 4)
GEMINIFUSION_KERNEL(f16, __half, 1)
GEMINIFUSION_KERNEL(f16, __half, 2)
GEMINIFUSION_KERNEL(f16, __half, 4)
GEMINIFUSION_KERNEL(f16, __half, 8)
GEMINIFUSION_KERNEL(bf16, __nv_bfloat16, 1)
GEMINIFUSION_KERNEL(bf16, __nv_bfloat16, 2)
GEMINIFUSION_KERNEL(bf16, __nv_bfloat16, 4)
GEMINIFUSION_KERNEL(bf16, __nv_bfloat16, 8)

namespace geminifusion {
namespace {

struct Launch {
  FusionTensors const& tensors;
  int32_t rows;
  int32_t head_dim;
  cudaStream_t stream;
};

// Whether vectors of this many bytes start where the hardware can load them, in every row of every tensor.
bool aligned(FusionTensors const& tensors, uintptr_t bytes) {
  uintptr_t const addresses = reinterpret_cast<uintptr_t>(tensors.q) | reinterpret_cast<uintptr_t>(tensors.k_diff) |
      reinterpret_cast<uintptr_t>(tensors.v_self) | reinterpret_cast<uintptr_t>(tensors.v_cross) |
      reinterpret_cast<uintptr_t>(tensors.mixed);
  return addresses % bytes == 0;
}

template <typename Scalar>
int32_t widest_vector(Launch const& launch) {
  int32_t width = kVectorBytes / static_cast<int32_t>(sizeof(Scalar));
  while (width > 1 && (launch.head_dim % width != 0 || !aligned(launch.tensors, width * sizeof(Scalar)))) {
    width /= 2;
  }
  return width;
}

template <typename Scalar>
using Kernel = void (*)(
    Scalar const*, Scalar const*, Scalar const*, Scalar const*, int32_t, int32_t, int32_t, Scalar*);

template <typename Scalar>
cudaError_t start(Kernel<Scalar> kernel, int32_t width, Launch const& launch) {
  int32_t const vectors = launch.head_dim / width;
  int32_t lanes_log2 = 0;
  while ((1 << lanes_log2) < vectors && (1 << lanes_log2) < kWarp) {
    ++lanes_log2;
  }
  int64_t const rows_of_block = kThreads >> lanes_log2;
  int64_t const wanted = (launch.rows + rows_of_block - 1) / rows_of_block;
  auto const blocks = static_cast<unsigned int>(wanted < kMaxBlocks ? wanted : kMaxBlocks);
  FusionTensors const& tensors = launch.tensors;
  kernel<<<blocks, kThreads, 0, launch.stream>>>(static_cast<Scalar const*>(tensors.q),
      static_cast<Scalar const*>(tensors.k_diff), static_cast<Scalar const*>(tensors.v_self),
      static_cast<Scalar const*>(tensors.v_cross), launch.rows, launch.head_dim, lanes_log2,
      static_cast<Scalar*>(tensors.mixed));
  return cudaGetLastError();
}

cudaError_t start_float32(Launch const& launch) {
  switch (int32_t const width = widest_vector<float>(launch)) {
    case 4: return start<float>(geminifusion_pixelwise_fusion_f32_x4, width, launch);
    case 2: return start<float>(geminifusion_pixelwise_fusion_f32_x2, width, launch);
    default: return start<float>(geminifusion_pixelwise_fusion_f32_x1, width, launch);
  }
}

cudaError_t start_float16(Launch const& launch) {
  switch (int32_t const width = widest_vector<__half>(launch)) {
    case 8: return start<__half>(geminifusion_pixelwise_fusion_f16_x8, width, launch);
    case 4: return start<__half>(geminifusion_pixelwise_fusion_f16_x4, width, launch);
    case 2: return start<__half>(geminifusion_pixelwise_fusion_f16_x2, width, launch);
    default: return start<__half>(geminifusion_pixelwise_fusion_f16_x1, width, launch);
  }
}

cudaError_t start_bfloat16(Launch const& launch) {
  switch (int32_t const width = widest_vector<__nv_bfloat16>(launch)) {
    case 8: return start<__nv_bfloat16>(geminifusion_pixelwise_fusion_bf16_x8, width, launch);
    case 4: return start<__nv_bfloat16>(geminifusion_pixelwise_fusion_bf16_x4, width, launch);
    case 2: return start<__nv_bfloat16>(geminifusion_pixelwise_fusion_bf16_x2, width, launch);
    default: return start<__nv_bfloat16>(geminifusion_pixelwise_fusion_bf16_x1, width, launch);
  }
}

}  // namespace

cudaError_t launch_pixelwise_fusion(
    Element element, int64_t rows, int32_t head_dim, FusionTensors const& tensors, cudaStream_t stream) {
  if (head_dim < 1 || rows < 0 || rows > INT32_MAX) {
    return cudaErrorInvalidValue;
  }
  if (rows == 0) {
    return cudaSuccess;
  }
  Launch const launch{tensors, static_cast<int32_t>(rows), head_dim, stream};
  switch (element) {
    case Element::kFloat32: return start_float32(launch);
    case Element::kFloat16: return start_float16(launch);
    case Element::kBFloat16: return start_bfloat16(launch);
  }
  return cudaErrorInvalidValue;
}

}  // namespace geminifusion
