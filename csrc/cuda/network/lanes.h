// What the kernels of the network share: wide loads, sums over the lanes of a warp in a fixed order, and activations.
#pragma once

#include <cstdint>

#include "cuda/warp.h"
#include "model/hyperparameters.h"

namespace so3md::cuda {

inline constexpr int kQuad = 4;  ///< numbers of one wide load

template <class Real>
struct alignas(16) Quad {
  Real at[kQuad];
};

/// Four numbers; `from` is a multiple of 16 bytes.
template <class Real>
__device__ __forceinline__ Quad<Real> load_quad(const Real* from) {
  return *reinterpret_cast<const Quad<Real>*>(from);
}

template <class Real>
__device__ __forceinline__ void store_quad(Real* to, const Quad<Real>& value) {
  *reinterpret_cast<Quad<Real>*>(to) = value;
}

__host__ __device__ constexpr int round_up(int count, int multiple) { return (count + multiple - 1) / multiple * multiple; }

/// Sum over groups of `lanes` neighbouring lanes (a power of two), the same bits in all of them. kLanes: their number, or 0 where it is a
/// variable.
template <int kLanes = kWarp, class Real>
__device__ __forceinline__ Real sum_lanes(Real value, int lanes = kLanes) {
  if constexpr (kLanes > 0) {
#pragma unroll
    for (int bit = kLanes / 2; bit > 0; bit /= 2) value += __shfl_xor_sync(kFullWarp, value, bit);
  } else {
    for (int bit = lanes / 2; bit > 0; bit /= 2) value += __shfl_xor_sync(kFullWarp, value, bit);
  }
  return value;
}

__device__ __forceinline__ double square_root(double x) { return sqrt(x); }
__device__ __forceinline__ float square_root(float x) { return sqrtf(x); }

__device__ __forceinline__ double logistic(double x) { return 1.0 / (1.0 + exp(-x)); }
__device__ __forceinline__ float logistic(float x) { return __fdividef(1.0f, 1.0f + expf(-x)); }

/// act(x) and act'(x); formulas as in csrc/network/activation.h.
template <class Real>
__device__ __forceinline__ Real activate(Activation type, Real x, Real& slope) {
  switch (type) {
    case Activation::silu: {
      const Real s = logistic(x);
      slope = s * (Real(1) + x * (Real(1) - s));
      return x * s;
    }
    case Activation::tanh: {
      const Real t = Real(2) * logistic(Real(2) * x) - Real(1);
      slope = Real(1) - t * t;
      return t;
    }
    case Activation::gelu: {
      constexpr Real a = Real(0.79788456080286535588), b = Real(0.044715);
      const Real s = logistic(Real(2) * a * (x + b * x * x * x));
      slope = s + x * s * (Real(1) - s) * Real(2) * a * (Real(1) + Real(3) * b * x * x);
      return x * s;
    }
    case Activation::relu:
      slope = x > Real(0) ? Real(1) : Real(0);
      return x > Real(0) ? x : Real(0);
    case Activation::identity:
      break;
  }
  slope = Real(1);
  return x;
}

template <class Real>
__device__ __forceinline__ Real activate(Activation type, Real x) {
  Real unused;
  return activate(type, x, unused);
}

template <class Real>
__device__ __forceinline__ Real activation_slope(Activation type, Real x) {
  Real slope;
  activate(type, x, slope);
  return slope;
}

}  // namespace so3md::cuda
