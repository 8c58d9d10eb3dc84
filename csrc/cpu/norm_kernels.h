// Layer norms of rows of features, forward and adjoint (eq. 23 of docs/theory.md).
#pragma once

#include "cpu/simd.h"
#include "network/kernels.h"

namespace SO3MD_CPU_NAMESPACE {

template <class Real>
inline void copy_rows(int count, const Real* from, Real* to) {
  for (int i = 0; i < count; i += kWidth<Real>) store<Real>(to + i, load<Real>(from + i));
}

/// to += from.
template <class Real>
inline void add_rows(int count, const Real* from, Real* to) {
  for (int i = 0; i < count; i += kWidth<Real>) store<Real>(to + i, load<Real>(to + i) + load<Real>(from + i));
}

/// Sum over whole registers, in four chains: one alone would wait for every addition.
template <class Real, class Term>
inline __attribute__((always_inline)) Real sum_of(int count, const Term& term) {
  constexpr int w = kWidth<Real>;
  Vec<Real> a = Vec<Real>{}, b = Vec<Real>{}, c = Vec<Real>{}, d = Vec<Real>{};
  int i = 0;
  for (; i + 4 * w <= count; i += 4 * w) {
    a += term(i);
    b += term(i + w);
    c += term(i + 2 * w);
    d += term(i + 3 * w);
  }
  for (; i < count; i += w) a += term(i);
  return sum<Real>((a + b) + (c + d));
}

/// Mean and 1 / sqrt(variance + epsilon) of one row of `count` numbers that may end inside a register. With `rms`, the mean counts as zero
/// (eq. 92).
template <class Real>
inline void row_statistics(const Real* x, int count, bool rms, Real epsilon, Real& mean, Real& inverse_deviation) {
  const int whole = count / kWidth<Real> * kWidth<Real>;
  mean = Real(0);
  if (!rms) {
    Real total = sum_of<Real>(whole, [&](int i) __attribute__((always_inline)) { return load<Real>(x + i); });
    for (int i = whole; i < count; ++i) total += x[i];
    mean = total / static_cast<Real>(count);
  }
  const Real middle = mean;
  Real variance = sum_of<Real>(whole, [&](int i) __attribute__((always_inline)) {
    const Vec<Real> difference = load<Real>(x + i) - middle;
    return difference * difference;
  });
  for (int i = whole; i < count; ++i) variance += (x[i] - mean) * (x[i] - mean);
  variance /= static_cast<Real>(count);
  inverse_deviation = Real(1) / static_cast<Real>(__builtin_sqrt(static_cast<double>(variance + epsilon)));
}

/// out = (x - mean) / deviation * scale + bias (eq. 23); the padding of out stays zero because that of scale and bias is.
template <class Real>
inline void layer_norm(const Layout& layout, const NormParameters<Real>& norm, int rows, const Real* x, Real* out) {
  const int stride = layout.feature_stride;
  for (int row = 0; row < rows; ++row) {
    Real mean, inverse;
    row_statistics<Real>(x + row * stride, layout.features, layout.rms_norm, static_cast<Real>(layout.layer_norm_epsilon), mean, inverse);
    for (int i = 0; i < stride; i += kWidth<Real>) {
      const Vec<Real> normal = (load<Real>(x + row * stride + i) - mean) * inverse;
      store<Real>(out + row * stride + i, normal * load<Real>(norm.scale + i) + load<Real>(norm.bias + i));
    }
  }
}

/// gradient (dE/dout) becomes dE/dx: with s = scale * gradient and n the normalised row, (s - mean(s) - n mean(s n)) / deviation,
/// without mean(s) for a norm that takes no mean away.
template <class Real>
inline void layer_norm_adjoint(const Layout& layout, const NormParameters<Real>& norm, int rows, const Real* x, Real* gradient) {
  const int stride = layout.feature_stride;
  for (int row = 0; row < rows; ++row) {
    Real* g = gradient + row * stride;
    const Real* input = x + row * stride;
    Real mean, inverse;
    row_statistics<Real>(input, layout.features, layout.rms_norm, static_cast<Real>(layout.layer_norm_epsilon), mean, inverse);
    for (int i = 0; i < stride; i += kWidth<Real>) store<Real>(g + i, load<Real>(g + i) * load<Real>(norm.scale + i));
    const Real sum_s = sum_of<Real>(stride, [&](int i) __attribute__((always_inline)) { return load<Real>(g + i); });
    const Real sum_sn = sum_of<Real>(
        stride, [&](int i) __attribute__((always_inline)) { return load<Real>(g + i) * (load<Real>(input + i) - mean) * inverse; });
    const Real mean_s = layout.rms_norm ? Real(0) : sum_s / static_cast<Real>(layout.features);
    const Real mean_sn = sum_sn / static_cast<Real>(layout.features);
    for (int i = 0; i < stride; i += kWidth<Real>) {
      const Vec<Real> n = (load<Real>(input + i) - mean) * inverse;
      store<Real>(g + i, (load<Real>(g + i) - mean_s - n * mean_sn) * inverse);
    }
    for (int i = layout.features; i < stride; ++i) g[i] = Real(0);
  }
}

}  // namespace SO3MD_CPU_NAMESPACE
