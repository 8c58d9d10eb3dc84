// Projections of features to queries, keys and values, forward and adjoint (eq. 18 of docs/theory.md).
#pragma once

#include "cpu/activation.h"
#include "cpu/matmul.h"
#include "cpu/norm_kernels.h"

namespace SO3MD_CPU_NAMESPACE {

// These two are called from many places, ten times in all: once in the program is enough.
template <class Real>
[[gnu::noinline]] void project_heads(const HeadLinear<Real>& heads, int rows, const Real* x, int x_stride, Real* out, int out_stride) {
  for (int head = 0; head < heads.heads; ++head)
    matmul<Real, Start::zero>(rows, x + head * heads.width, x_stride, heads.forward + head * heads.head_size, nullptr, heads.width,
                              heads.padded_width, out + head * heads.padded_width, out_stride);
}

template <class Real>
[[gnu::noinline]] void project_heads_adjoint(const HeadLinear<Real>& heads, int rows, const Real* gradient, int stride, Real* x_gradient,
                                             int x_stride) {
  for (int head = 0; head < heads.heads; ++head)
    matmul<Real, Start::accumulate>(rows, gradient + head * heads.padded_width, stride, heads.adjoint + head * heads.adjoint_size, nullptr,
                                    heads.width, padded<Real>(heads.width), x_gradient + head * heads.width, x_stride);
}

/// Rows [q, k, v, q', k'] (eq. 18) before the activation of queries and keys.
template <class Real>
inline void project_linear(const Layout& layout, const LayerParameters<Real>& parameters, const Real* x, int rows, Real* out) {
  const int stride = layout.feature_stride, out_stride = layout.projection_stride;
  project_heads<Real>(parameters.query, rows, x, stride, out + layout.query_offset, out_stride);
  project_heads<Real>(parameters.key, rows, x, stride, out + layout.key_offset, out_stride);
  project_heads<Real>(parameters.value, rows, x, stride, out + layout.value_offset, out_stride);
  project_heads<Real>(parameters.coordinate_query, rows, x, stride, out + layout.coordinate_query_offset, out_stride);
  project_heads<Real>(parameters.coordinate_key, rows, x, stride, out + layout.coordinate_key_offset, out_stride);
}

/// Calls body(row part, count) for the queries and keys of every row; values are left out.
template <class Real, class Body>
inline void for_queries_and_keys(const Layout& layout, int rows, Real* projection, const Body& body) {
  for (int row = 0; row < rows; ++row) {
    Real* at = projection + static_cast<std::ptrdiff_t>(row) * layout.projection_stride;
    body(at + layout.query_offset, 2 * layout.features_padded);
    body(at + layout.coordinate_query_offset, 2 * layout.coordinates_padded);
  }
}

/// Calls body(number, offset, width, padded width) for the head of every query and key of a row.
template <class Body>
inline void for_heads(const Layout& layout, const Body& body) {
  for (int head = 0; head < 2 * layout.heads; ++head)
    body(head, layout.query_offset + head * layout.head_padded, layout.head_width, layout.head_padded);
  for (int head = 0; head < 2 * layout.num_degrees; ++head)
    body(2 * layout.heads + head, layout.coordinate_query_offset + head * layout.coordinate_head_padded, layout.coordinate_head_width,
         layout.coordinate_head_padded);
}

/// 1 / sqrt(mean of squares + epsilon) of a head of `width` numbers, whose padding is zero (eq. 93).
template <class Real>
inline Real inverse_root_mean_square(const Layout& layout, const Real* head, int width, int padded_width) {
  Vec<Real> squares = Vec<Real>{};
  for (int i = 0; i < padded_width; i += kWidth<Real>) squares += load<Real>(head + i) * load<Real>(head + i);
  const double mean = static_cast<double>(sum<Real>(squares)) / width;
  return static_cast<Real>(1.0 / __builtin_sqrt(mean + layout.layer_norm_epsilon));
}

/// Queries and keys of a row over their root mean square, head by head. The factors stay in the row, for the adjoint.
template <class Real>
inline void normalise_heads(const Layout& layout, Real* row) {
  for_heads(layout, [&](int number, int offset, int width, int padded_width) __attribute__((always_inline)) {
    Real* head = row + offset;
    const Real factor = inverse_root_mean_square<Real>(layout, head, width, padded_width);
    for (int i = 0; i < padded_width; i += kWidth<Real>) store<Real>(head + i, factor * load<Real>(head + i));
    row[layout.factor_offset + number] = factor;
  });
}

/// Gradients of queries and keys of a row become those before the norm: with y = r a, these are r (g - y mean(y g)).
template <class Real>
inline void normalise_heads_adjoint(const Layout& layout, const Real* row, Real* gradient) {
  for_heads(layout, [&](int number, int offset, int width, int padded_width) __attribute__((always_inline)) {
    const Real* y = row + offset;
    Real* g = gradient + offset;
    Vec<Real> products = Vec<Real>{};
    for (int i = 0; i < padded_width; i += kWidth<Real>) products += load<Real>(y + i) * load<Real>(g + i);
    const Real mean = sum<Real>(products) / static_cast<Real>(width), factor = row[layout.factor_offset + number];
    for (int i = 0; i < padded_width; i += kWidth<Real>) store<Real>(g + i, factor * (load<Real>(g + i) - mean * load<Real>(y + i)));
  });
}

template <class Real>
void project(const Layout& layout, const LayerParameters<Real>& parameters, const Real* x, int rows, Real* projection) {
  project_linear<Real>(layout, parameters, x, rows, projection);
  if (layout.query_key_activation != Activation::identity)
    for_queries_and_keys<Real>(layout, rows, projection,
                               [&](Real* part, int count) { activate_rows<Real>(layout.query_key_activation, count, part, part); });
  if (layout.normalize_query_key)
    for (int row = 0; row < rows; ++row)
      normalise_heads<Real>(layout, projection + static_cast<std::ptrdiff_t>(row) * layout.projection_stride);
}

/// gradient: rows of dE/d[q, k, v, q', k'] of one atom block, before a norm of heads, changed; x: what was projected; x_gradient, its
/// gradient, is added to.
template <class Real>
inline void project_adjoint(const Layout& layout, const LayerParameters<Real>& parameters, int rows, const Real* x, Real* gradient,
                            Real* scratch_projection, Real* x_gradient) {
  if (layout.query_key_activation != Activation::identity) {
    project_linear<Real>(layout, parameters, x, rows, scratch_projection);
    for_queries_and_keys<Real>(layout, rows, scratch_projection, [&](Real* part, int count) {
      for (int i = 0; i < count; i += kWidth<Real>) {
        Vec<Real> slope;
        activation<Real>(layout.query_key_activation, load<Real>(part + i), slope);
        Real* g = gradient + (part - scratch_projection) + i;
        store<Real>(g, load<Real>(g) * slope);
      }
    });
  }
  const int stride = layout.feature_stride, from = layout.projection_stride;
  project_heads_adjoint<Real>(parameters.query, rows, gradient + layout.query_offset, from, x_gradient, stride);
  project_heads_adjoint<Real>(parameters.key, rows, gradient + layout.key_offset, from, x_gradient, stride);
  project_heads_adjoint<Real>(parameters.value, rows, gradient + layout.value_offset, from, x_gradient, stride);
  project_heads_adjoint<Real>(parameters.coordinate_query, rows, gradient + layout.coordinate_query_offset, from, x_gradient, stride);
  project_heads_adjoint<Real>(parameters.coordinate_key, rows, gradient + layout.coordinate_key_offset, from, x_gradient, stride);
}

/// For layers that normalise what they project: gradient_x from the gradient of what was projected to that of the layer's input, which goes
/// past the attention as well.
template <class Real>
void input_norm_adjoint(const LayerStep<Real>& step, int begin, int end, Real*) {
  const Layout& layout = *step.layout;
  for (int i = begin; i < end; ++i) {
    const std::ptrdiff_t offset = static_cast<std::ptrdiff_t>(i) * layout.feature_stride;
    Real* gradient = step.gradient_x + offset;
    layer_norm_adjoint<Real>(layout, step.parameters->norm1, 1, step.x + offset, gradient);
    const Real* attended = step.gradient_attended + static_cast<std::ptrdiff_t>(i) * layout.features_padded;
    for (int head = 0; head < layout.heads; ++head)
      for (int d = 0; d < layout.head_width; ++d) gradient[head * layout.head_width + d] += attended[head * layout.head_padded + d];
  }
}

}  // namespace SO3MD_CPU_NAMESPACE
