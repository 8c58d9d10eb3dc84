// What the formulas of the pair physics share: units, and the conventions under which CPU and GPU use the same text.
//
// Formulas are function templates on a policy `Math`, which names the type of number they work on and supplies what C++ operators
// do not:
//     Math::Real                                a scalar, float or double; constants of the formulas have this type
//     Math::Number                              Real itself, or a short vector of them
//     Math::constant(Real) -> Number            the same number everywhere
//     Math::minimum, maximum(Number, Number)
//     Math::exponential(Number)
//     Math::error_function(t, gaussian)         erf(t) for t >= 0, with gaussian = exp(-t^2) at hand
//     Math::seventh_root(Number)                ValueAndSlope: x^(1/7) and its derivative
// They are always inlined and use no function of the standard library, so that they can be compiled for several instruction sets
// in one program and for GPUs. Equation numbers refer to docs/theory.md.
#pragma once

#if defined(__CUDACC__)
#define SO3MD_FORMULA __host__ __device__ __forceinline__
#else
#define SO3MD_FORMULA inline __attribute__((always_inline))
#endif

namespace so3md {

inline constexpr double kCoulomb = 14.399645351950548;  ///< e^2 / (4 pi epsilon_0) in eV A
inline constexpr double kBohr = 0.5291772105638411;     ///< A
inline constexpr double kHartree = 27.211386245988;     ///< eV
inline constexpr double kFineStructure = 0.0072973525693;

/// A function of one variable and its derivative.
template <class Number>
struct ValueAndSlope {
  Number value;
  Number slope;
};

}  // namespace so3md
