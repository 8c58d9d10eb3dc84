// Short vectors of the instruction set that a kernel file is compiled for.
//
// Kernel files are compiled once per instruction set. Whatever they contain must live in a namespace named after it, so that the
// linker never serves a machine code made for another: everything under csrc/cpu that is included by kernels.cpp therefore sits in
// so3md::cpu::SO3MD_ISA, and no function of the standard library that is emitted inline (templates) may be used in it.
#pragma once

#include <cstdint>
#include <type_traits>

#ifndef SO3MD_ISA
#error "csrc/cpu/simd.h belongs to files that are compiled once per instruction set with SO3MD_ISA defined"
#endif

#define SO3MD_CPU_NAMESPACE so3md::cpu::SO3MD_ISA

namespace SO3MD_CPU_NAMESPACE {

#if defined(__AVX512F__)
inline constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
inline constexpr int kVectorBytes = 32;
#else
inline constexpr int kVectorBytes = 16;
#endif

template <class Real>
struct SimdTraits;

template <>
struct SimdTraits<float> {
  typedef float Vec __attribute__((vector_size(kVectorBytes)));
  typedef std::int32_t Int __attribute__((vector_size(kVectorBytes)));
  typedef float Unaligned __attribute__((vector_size(kVectorBytes), aligned(4), may_alias));
};

template <>
struct SimdTraits<double> {
  typedef double Vec __attribute__((vector_size(kVectorBytes)));
  typedef std::int64_t Int __attribute__((vector_size(kVectorBytes)));
  typedef double Unaligned __attribute__((vector_size(kVectorBytes), aligned(8), may_alias));
};

/// kWidth<Real> numbers in one register. Arithmetic, comparisons and the ternary operator work element by element.
template <class Real>
using Vec = typename SimdTraits<Real>::Vec;

/// Integers of the same number and size; also the result of a comparison (-1 true, 0 false).
template <class Real>
using VecInt = typename SimdTraits<Real>::Int;

template <class Real>
inline constexpr int kWidth = kVectorBytes / static_cast<int>(sizeof(Real));

template <class Real>
inline Vec<Real> load(const Real* from) {
  return *reinterpret_cast<const typename SimdTraits<Real>::Unaligned*>(from);
}

template <class Real>
inline void store(Real* to, Vec<Real> value) {
  *reinterpret_cast<typename SimdTraits<Real>::Unaligned*>(to) = value;
}

template <class Real>
inline Vec<Real> broadcast(Real value) {
  return value - Vec<Real>{};
}

/// Sum over the lanes, in halves down to 16 bytes, where compilers know what to do.
template <class Real, int Bytes = kVectorBytes, class Vector>
inline __attribute__((always_inline)) Real sum(Vector value) {
  if constexpr (Bytes > 16) {
    typedef Real Half __attribute__((vector_size(Bytes / 2)));
    Half low, high;
    __builtin_memcpy(&low, &value, sizeof(low));
    __builtin_memcpy(&high, reinterpret_cast<const char*>(&value) + sizeof(low), sizeof(high));
    return sum<Real, Bytes / 2>(low + high);
  } else if constexpr (sizeof(Real) == sizeof(float)) {
    return (value[0] + value[2]) + (value[1] + value[3]);
  } else {
    return value[0] + value[1];
  }
}

/// Four numbers, in which rows are turned into columns whatever the width of registers.
template <class Real>
using Four __attribute__((vector_size(4 * sizeof(Real)))) = Real;

// By reference: registers of this length do not exist everywhere, so no function may return one.
template <class Real>
inline void load_four(const Real* from, Four<Real>& value) {
  __builtin_memcpy(&value, from, sizeof(value));
}

template <class Real>
inline void store_four(Real* to, const Four<Real>& value) {
  __builtin_memcpy(to, &value, sizeof(value));
}

/// to = the numbers of a (0 to 3) and b (4 to 7) at four places.
template <class Real, int... places>
inline __attribute__((always_inline)) void pick(const Four<Real>& a, const Four<Real>& b, Four<Real>& to) {
#if defined(__clang__)
  to = __builtin_shufflevector(a, b, places...);
#else  // of which GCC knows the other only from version 12 on
  typedef std::conditional_t<sizeof(Real) == sizeof(float), std::int32_t, std::int64_t> Index;
  typedef Index Order __attribute__((vector_size(4 * sizeof(Real))));
  to = __builtin_shuffle(a, b, Order{places...});
#endif
}

/// Turns four rows of four into columns.
template <class Real>
inline __attribute__((always_inline)) void transpose(Four<Real> (&rows)[4]) {
  Four<Real> a, b, c, d;
  pick<Real, 0, 4, 1, 5>(rows[0], rows[1], a);
  pick<Real, 0, 4, 1, 5>(rows[2], rows[3], b);
  pick<Real, 2, 6, 3, 7>(rows[0], rows[1], c);
  pick<Real, 2, 6, 3, 7>(rows[2], rows[3], d);
  pick<Real, 0, 1, 4, 5>(a, b, rows[0]);
  pick<Real, 2, 3, 6, 7>(a, b, rows[1]);
  pick<Real, 0, 1, 4, 5>(c, d, rows[2]);
  pick<Real, 2, 3, 6, 7>(c, d, rows[3]);
}

template <class Real>
inline Vec<Real> minimum(Vec<Real> a, Vec<Real> b) {
  return a < b ? a : b;
}

template <class Real>
inline Vec<Real> maximum(Vec<Real> a, Vec<Real> b) {
  return a > b ? a : b;
}

template <class Real>
inline Vec<Real> square_root(Vec<Real> value) {
  for (int lane = 0; lane < kWidth<Real>; ++lane) {
    if constexpr (sizeof(Real) == sizeof(float))
      value[lane] = __builtin_sqrtf(value[lane]);
    else
      value[lane] = __builtin_sqrt(value[lane]);
  }
  return value;
}

}  // namespace SO3MD_CPU_NAMESPACE
