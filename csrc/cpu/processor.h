// What instruction sets the processor has that this runs on, whether or not kernels were compiled for them. The build asks, too:
// cmake/Kernels.cmake.
#pragma once

namespace so3md::cpu {

#if defined(__x86_64__)
inline bool processor_has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

inline bool processor_has_avx512() {
  return processor_has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
#else
inline bool processor_has_avx2() { return false; }
inline bool processor_has_avx512() { return false; }
#endif

}  // namespace so3md::cpu
