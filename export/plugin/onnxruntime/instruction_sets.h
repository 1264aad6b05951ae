// One source, compiled for several instruction sets, chosen when the library is loaded.
//
// A kernel body is an always-inline template; GEMINIFUSION_MULTIVERSION makes a copy of it per instruction set and
// `best(...)` picks one. Other processors than x86-64 have one copy, with what their compiler assumes.
#pragma once

#if defined(__x86_64__)
#define GEMINIFUSION_TARGET_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")))
#define GEMINIFUSION_TARGET_AVX2 __attribute__((target("avx2,fma")))
#endif

namespace geminifusion {

template <typename Function>
Function* best([[maybe_unused]] Function* avx512, [[maybe_unused]] Function* avx2, Function* portable) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")) {
    return avx512;
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return avx2;
#endif
  return portable;
}

}  // namespace geminifusion
