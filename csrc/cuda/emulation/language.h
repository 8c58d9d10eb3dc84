// The words of CUDA C++ that the kernels use, for an ordinary C++ compiler: what a thread sees of its block and its warp.
//
// A block's threads are fibers of one thread of the host, and blocks run one after the other (emulation/scheduler.h). Only what
// csrc/cuda uses is here. Numbers follow the host's mathematical library, which rounds a little differently from a GPU's.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#define __host__
#define __device__
#define __global__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
// Blocks are never interleaved within one thread of the host, so that a variable of this thread is what a block shares.
#define __shared__ static thread_local

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct uint3 {
  unsigned x = 0, y = 0, z = 0;
};

struct alignas(8) int2 {
  int x, y;
};
struct alignas(16) int4 {
  int x, y, z, w;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(16) double2 {
  double x, y;
};
inline int2 make_int2(int x, int y) { return {x, y}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline double2 make_double2(double x, double y) { return {x, y}; }

namespace so3md::emulation {

/// What a running thread of a kernel sees of itself.
struct Place {
  uint3 thread, block;
  dim3 block_size, grid_size;
  unsigned char* dynamic_shared = nullptr;
};
extern constinit thread_local Place place;

/// Where in the source a call stands: std::source_location, which Clang has not before version 16.
struct SourcePlace {
  const char* file = "";
  int line = 0;
  static constexpr SourcePlace current(const char* file = __builtin_FILE(), int line = __builtin_LINE()) { return {file, line}; }
};

enum class WarpOperation { shuffle, ballot, wait };

/// Waits until all threads of the block that have not ended are here too.
void wait_for_block(const SourcePlace& where);

/// Waits for the lanes of `mask`. shuffle: returns the value of lane `source`; ballot: the lanes whose value is not 0.
std::uint64_t wait_for_warp(unsigned mask, WarpOperation operation, std::uint64_t value, int source, const SourcePlace& where);

/// Number of the running thread in its warp.
int lane();

template <class T>
std::uint64_t bits_of(T value) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 8);
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  return bits;
}

template <class T>
T value_of(std::uint64_t bits) {
  T value;
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

template <class T>
T shuffle(unsigned mask, T value, int source, const SourcePlace& where) {
  return value_of<T>(wait_for_warp(mask, WarpOperation::shuffle, bits_of(value), source, where));
}

}  // namespace so3md::emulation

#define threadIdx (::so3md::emulation::place.thread)
#define blockIdx (::so3md::emulation::place.block)
#define blockDim (::so3md::emulation::place.block_size)
#define gridDim (::so3md::emulation::place.grid_size)
inline constexpr int warpSize = 32;

using SO3MD_Where = so3md::emulation::SourcePlace;

inline void __syncthreads(const SO3MD_Where& where = SO3MD_Where::current()) { so3md::emulation::wait_for_block(where); }
inline void __syncwarp(unsigned mask = 0xffffffffu, const SO3MD_Where& where = SO3MD_Where::current()) {
  so3md::emulation::wait_for_warp(mask, so3md::emulation::WarpOperation::wait, 0, 0, where);
}
inline void __threadfence() {}

// Lanes outside of the segment of `width` lanes give their own value, as on a GPU.
template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, const SO3MD_Where& where = SO3MD_Where::current()) {
  const int first = so3md::emulation::lane() & ~(width - 1);
  return so3md::emulation::shuffle(mask, value, first + (source & (width - 1)), where);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, const SO3MD_Where& where = SO3MD_Where::current()) {
  const int lane = so3md::emulation::lane(), source = lane ^ bits;
  return so3md::emulation::shuffle(mask, value, source < (lane & ~(width - 1)) + width ? source : lane, where);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32, const SO3MD_Where& where = SO3MD_Where::current()) {
  const int lane = so3md::emulation::lane(), source = lane + static_cast<int>(by);
  return so3md::emulation::shuffle(mask, value, source < (lane & ~(width - 1)) + width ? source : lane, where);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32, const SO3MD_Where& where = SO3MD_Where::current()) {
  const int lane = so3md::emulation::lane(), source = lane - static_cast<int>(by);
  return so3md::emulation::shuffle(mask, value, source >= (lane & ~(width - 1)) ? source : lane, where);
}
inline unsigned __ballot_sync(unsigned mask, int predicate, const SO3MD_Where& where = SO3MD_Where::current()) {
  return static_cast<unsigned>(
      so3md::emulation::wait_for_warp(mask, so3md::emulation::WarpOperation::ballot, predicate != 0 ? 1 : 0, 0, where));
}
inline int __any_sync(unsigned mask, int predicate, const SO3MD_Where& where = SO3MD_Where::current()) {
  return __ballot_sync(mask, predicate, where) != 0;
}
inline int __all_sync(unsigned mask, int predicate, const SO3MD_Where& where = SO3MD_Where::current()) {
  return __ballot_sync(mask, predicate, where) == mask;
}

inline int __popc(unsigned bits) { return std::popcount(bits); }
inline int __ffs(int bits) { return __builtin_ffs(bits); }
inline int __clz(int bits) { return std::countl_zero(static_cast<unsigned>(bits)); }

template <class T>
T __ldg(const T* from) {
  return *from;
}

// Threads never run at the same time here.
template <class T>
T atomicAdd(T* to, std::type_identity_t<T> value) {
  static_assert(std::is_integral_v<T>, "sums of floating-point numbers must not depend on the order of threads");
  const T old = *to;
  *to += value;
  return old;
}
template <class T>
T atomicMax(T* to, std::type_identity_t<T> value) {
  static_assert(std::is_integral_v<T>);
  const T old = *to;
  if (value > old) *to = value;
  return old;
}
template <class T>
T atomicMin(T* to, std::type_identity_t<T> value) {
  static_assert(std::is_integral_v<T>);
  const T old = *to;
  if (value < old) *to = value;
  return old;
}

template <class T>
T atomicOr(T* to, std::type_identity_t<T> value) {
  static_assert(std::is_integral_v<T>);
  const T old = *to;
  *to |= value;
  return old;
}

inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline double rsqrt(double x) { return 1.0 / std::sqrt(x); }
inline float __expf(float x) { return std::exp(x); }
inline float __fdividef(float x, float y) { return x / y; }
inline float __int_as_float(int x) { return std::bit_cast<float>(x); }
inline int __float_as_int(float x) { return std::bit_cast<int>(x); }
inline long long __double_as_longlong(double x) { return std::bit_cast<long long>(x); }
inline double __longlong_as_double(long long x) { return std::bit_cast<double>(x); }
