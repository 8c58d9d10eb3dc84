// Residual MLPs of rows of features, forward and adjoint (eq. 24 and 54 of docs/theory.md).
#pragma once

#include "cpu/activation.h"
#include "cpu/matmul.h"
#include "cpu/norm_kernels.h"

namespace SO3MD_CPU_NAMESPACE {

/// What the adjoint needs: slopes of the activations, in rows of features. `outer` is of three layers alone.
template <class Real>
struct ResidualSlopes {
  Real *input, *inner, *outer;
};

template <class Real>
inline void set_zero_rows(int count, Real* values) {
  for (int i = 0; i < count; i += kWidth<Real>) store<Real>(values + i, Vec<Real>{});
}

/// x becomes x + dense2 act(dense1 act(x)), and with three layers dense3 act of that. `value` is scratch.
template <class Real>
inline void residual_forward(const Layout& layout, const ResidualParameters<Real>& mlp, int rows, Real* x,
                             const ResidualSlopes<Real>& slopes, Real* value) {
  const int stride = layout.feature_stride, count = rows * stride;
  copy_rows<Real>(count, x, slopes.input);
  activate_keep_slope<Real>(layout.activation, count, slopes.input, value);
  set_zero_rows<Real>(count, slopes.inner);
  apply<Real>(mlp.dense1.forward, rows, value, stride, slopes.inner, stride);
  activate_keep_slope<Real>(layout.activation, count, slopes.inner, value);
  const Linear<Real>& dense2 = mlp.dense2.forward;
  for (int row = 0; dense2.bias != nullptr && row < rows; ++row) add_rows<Real>(dense2.columns, dense2.bias, x + row * stride);
  add_product<Real>(dense2, rows, value, stride, x, stride);
  if (mlp.dense3.forward.weight == nullptr) return;
  copy_rows<Real>(count, x, slopes.outer);
  activate_keep_slope<Real>(layout.activation, count, slopes.outer, value);
  apply<Real>(mlp.dense3.forward, rows, value, stride, x, stride);
}

/// gradient (dE/d of what came out) becomes dE/dx; `inner` and `outer` are scratch.
template <class Real>
inline void residual_adjoint(const Layout& layout, const ResidualParameters<Real>& mlp, int rows, const ResidualSlopes<Real>& slopes,
                             Real* gradient, Real* inner, Real* outer) {
  const int stride = layout.feature_stride, count = rows * stride;
  set_zero_rows<Real>(count, inner);
  set_zero_rows<Real>(count, outer);
  if (mlp.dense3.forward.weight != nullptr) {
    apply<Real>(mlp.dense3.adjoint, rows, gradient, stride, outer, stride);
    multiply_rows<Real>(count, slopes.outer, outer);
    copy_rows<Real>(count, outer, gradient);
  }
  apply<Real>(mlp.dense2.adjoint, rows, gradient, stride, inner, stride);
  multiply_rows<Real>(count, slopes.inner, inner);
  apply<Real>(mlp.dense1.adjoint, rows, inner, stride, outer, stride);
  multiply_rows<Real>(count, slopes.input, outer);
  add_rows<Real>(count, outer, gradient);
}

}  // namespace SO3MD_CPU_NAMESPACE
