// Element types of the kernels: how each is widened to float and rounded back (to nearest, ties to even).
//
// Conversions are integer arithmetic with selects, so that compilers vectorise them without the processor's own
// instructions for half types, which not every machine has.
#pragma once

#include <cstdint>
#include <cstring>

#define GEMINIFUSION_ALWAYS_INLINE inline __attribute__((always_inline))

namespace geminifusion {

GEMINIFUSION_ALWAYS_INLINE uint32_t bits_of(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

GEMINIFUSION_ALWAYS_INLINE float float_of(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

struct Float16 {
  uint16_t bits;
};

struct BFloat16 {
  uint16_t bits;
};

GEMINIFUSION_ALWAYS_INLINE float widen(float value) { return value; }

GEMINIFUSION_ALWAYS_INLINE float widen(BFloat16 value) { return float_of(static_cast<uint32_t>(value.bits) << 16); }

GEMINIFUSION_ALWAYS_INLINE float widen(Float16 value) {
  const uint32_t magnitude = static_cast<uint32_t>(value.bits & 0x7fffU) << 13;
  const uint32_t sign = static_cast<uint32_t>(value.bits & 0x8000U) << 16;
  // the exponent's bias differs by 112; the product also normalises subnormals
  const uint32_t finite = bits_of(float_of(magnitude) * 0x1p112F);
  const uint32_t special = magnitude | 0x7f800000U;  // infinity and NaN keep their mantissa
  return float_of((magnitude >= 0x0f800000U ? special : finite) | sign);
}

template <typename Element>
Element narrow(float value);

template <>
GEMINIFUSION_ALWAYS_INLINE float narrow<float>(float value) {
  return value;
}

template <>
GEMINIFUSION_ALWAYS_INLINE BFloat16 narrow<BFloat16>(float value) {
  const uint32_t bits = bits_of(value);
  const uint32_t rounded = (bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16;
  const uint32_t quiet = (bits >> 16) | 0x40U;  // rounding could turn a NaN into infinity
  const bool is_nan = (bits & 0x7fffffffU) > 0x7f800000U;
  return {static_cast<uint16_t>(is_nan ? quiet : rounded)};
}

template <>
GEMINIFUSION_ALWAYS_INLINE Float16 narrow<Float16>(float value) {
  const uint32_t magnitude = bits_of(value) & 0x7fffffffU;
  const uint32_t sign = (bits_of(value) >> 16) & 0x8000U;
  const uint32_t normal = (magnitude - 0x38000000U + 0xfffU + ((magnitude >> 13) & 1U)) >> 13;
  // adding 0.5 moves a subnormal's bits to the end of the mantissa, and the addition rounds them
  const uint32_t subnormal = bits_of(float_of(magnitude) + 0.5F) - bits_of(0.5F);
  const uint32_t special = magnitude > 0x7f800000U ? 0x7e00U : 0x7c00U;
  const uint32_t finite = magnitude < 0x38800000U ? subnormal : normal;
  return {static_cast<uint16_t>((magnitude >= 0x47800000U ? special : finite) | sign)};
}

}  // namespace geminifusion
