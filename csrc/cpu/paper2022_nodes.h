// Per-atom part of a layer of the architecture so3krates-2022: norms, self-interaction of the coordinates, exchange of features and
// coordinates, and the projections (eq. 62, 67, 69-71 of docs/theory.md); forward and adjoint, in blocks of atoms.
#pragma once

#include "cpu/node_kernels.h"
#include "cpu/paper2022_tile.h"
#include "cpu/readout_kernels.h"

namespace SO3MD_CPU_NAMESPACE::paper {

/// norm[d] = |chi^(d)| of one row.
template <class Real>
inline void chi_norms(const Layout& layout, const Real* chi, Real* norm) {
  for (int d = 0; d < layout.num_degrees; ++d) {
    Real squares = Real(0);
    const int begin = layout.degree_offset[d], end = begin + 2 * layout.degree[d] + 1;
    for (int m = begin; m < end; ++m) squares += chi[m] * chi[m];
    norm[d] = static_cast<Real>(__builtin_sqrt(static_cast<double>(squares)));
  }
}

/// gradient += dE/d(norm) chi / norm; nothing where the norm is 0.
template <class Real>
inline void chi_norms_adjoint(const Layout& layout, const Real* chi, const Real* norm, const Real* gradient_norm, Real* gradient) {
  for (int d = 0; d < layout.num_degrees; ++d) {
    if (!(norm[d] > Real(0))) continue;
    const Real factor = gradient_norm[d] / norm[d];
    const int begin = layout.degree_offset[d], end = begin + 2 * layout.degree[d] + 1;
    for (int m = begin; m < end; ++m) gradient[m] += factor * chi[m];
  }
}

/// The norm of coordinates: out = scale chi / |chi|, degree by degree (eq. 67).
template <class Real>
inline void normalise_chi(const Layout& layout, const Real* scale, const Real* chi, Real* out) {
  Real norm[kMaxDegrees];
  chi_norms<Real>(layout, chi, norm);
  for (int d = 0; d < layout.num_degrees; ++d) {
    const Real factor = norm[d] > Real(0) ? scale[d] / norm[d] : Real(0);
    const int begin = layout.degree_offset[d], end = begin + 2 * layout.degree[d] + 1;
    for (int m = begin; m < end; ++m) out[m] = factor * chi[m];
  }
}

/// gradient (dE/dout) becomes dE/dchi: scale / |chi| times its part at right angles to chi.
template <class Real>
inline void normalise_chi_adjoint(const Layout& layout, const Real* scale, const Real* chi, Real* gradient) {
  Real norm[kMaxDegrees];
  chi_norms<Real>(layout, chi, norm);
  for (int d = 0; d < layout.num_degrees; ++d) {
    const Real inverse = norm[d] > Real(0) ? Real(1) / norm[d] : Real(0);
    const int begin = layout.degree_offset[d], end = begin + 2 * layout.degree[d] + 1;
    Real along = Real(0);
    for (int m = begin; m < end; ++m) along += gradient[m] * chi[m] * inverse;
    for (int m = begin; m < end; ++m) gradient[m] = scale[d] * inverse * (gradient[m] - along * chi[m] * inverse);
  }
}

/// Buffers of one block of atoms; one row after the other.
template <class Real>
struct NodeBlock {
  Real* y;                           ///< x after the first norm
  Real *chi, *mixed;                 ///< chi after the first norm, and its product with itself
  Real *exchange_in, *exchange_out;  ///< [y, norms] and (a1, a2, b1, b2)
  Real *mixed_norm, *gate;
  Real *x_out, *chi_out;  ///< before the second norm
  Real *gradient_in, *gradient_exchange, *gradient_gate, *gradient_norm, *gradient_mixed, *gradient_chi;

  static std::size_t size(const paper2022::Parameters<Real>& parameters) {
    const Layout& layout = parameters.layout;
    const int gate = padded<Real>(layout.features);
    return static_cast<std::size_t>(kNodeBlock * (2 * layout.feature_stride + 5 * layout.chi_stride + 2 * layout.exchange_stride +
                                                  2 * parameters.exchange_out + 2 * parameters.degree_stride + 2 * gate));
  }

  NodeBlock(const paper2022::Parameters<Real>& parameters, Real* scratch) {
    const Layout& layout = parameters.layout;
    const int gate_stride = padded<Real>(layout.features);
    Real* next = scratch;
    const auto take = [&](int width) {
      Real* const here = next;
      next += kNodeBlock * width;
      return here;
    };
    y = take(layout.feature_stride);
    x_out = take(layout.feature_stride);
    chi = take(layout.chi_stride);
    mixed = take(layout.chi_stride);
    chi_out = take(layout.chi_stride);
    gradient_mixed = take(layout.chi_stride);
    gradient_chi = take(layout.chi_stride);
    exchange_in = take(layout.exchange_stride);
    gradient_in = take(layout.exchange_stride);
    exchange_out = take(parameters.exchange_out);
    gradient_exchange = take(parameters.exchange_out);
    mixed_norm = take(parameters.degree_stride);
    gradient_norm = take(parameters.degree_stride);
    gate = take(gate_stride);
    gradient_gate = take(gate_stride);
  }
};

/// Self-interaction and exchange, up to the second norm (eq. 69-71), for rows from `first` on.
template <class Real>
inline void node_body(const Step<Real>& step, int first, int rows, NodeBlock<Real>& b) {
  const Layout& layout = *step.layout;
  const auto& parameters = *step.parameters;
  const int stride = layout.feature_stride, features = layout.features, degrees = layout.num_degrees;
  const int gate_stride = padded<Real>(features), out_stride = step.all_parameters->exchange_out;
  const int degree_stride = step.all_parameters->degree_stride;
  const Real* x = step.x_attended + static_cast<std::ptrdiff_t>(first) * stride;
  const Real* chi = step.chi_attended + static_cast<std::ptrdiff_t>(first) * layout.chi_stride;
  if (layout.norm_attended)
    layer_norm<Real>(layout, parameters.norm1, rows, x, b.y);
  else
    copy_rows<Real>(rows * stride, x, b.y);
  copy_rows<Real>(rows * layout.chi_stride, chi, b.chi);
  for (int row = 0; row < rows; ++row) {
    Real* own = b.chi + row * layout.chi_stride;
    if (parameters.coordinate_norm1 != nullptr)
      normalise_chi<Real>(layout, parameters.coordinate_norm1, chi + row * layout.chi_stride, own);
    Real* in = b.exchange_in + row * layout.exchange_stride;
    for (int f = 0; f < features; ++f) in[f] = b.y[row * stride + f];
    chi_norms<Real>(layout, own, in + features);
    Real* mixed = b.mixed + row * layout.chi_stride;
    clear<Real>(layout.chi_stride, mixed);
    for (int k = 0; k < parameters.num_products; ++k) {
      const auto& product = parameters.products[k];
      mixed[product.out] += product.coefficient * own[product.first] * own[product.second];
    }
    chi_norms<Real>(layout, mixed, b.mixed_norm + row * degree_stride);
  }
  apply<Real>(parameters.exchange.forward, rows, b.exchange_in, layout.exchange_stride, b.exchange_out, out_stride);
  apply<Real>(parameters.gate.forward, rows, b.mixed_norm, degree_stride, b.gate, gate_stride);
  const Real third = Real(0.57735026918962576451);  // 1 / sqrt(3)
  for (int row = 0; row < rows; ++row) {
    const Real *a1 = b.exchange_out + row * out_stride, *a2 = a1 + features, *b1 = a2 + features, *b2 = b1 + degrees;
    Real* out = b.x_out + row * stride;
    clear<Real>(stride, out);
    for (int f = 0; f < features; ++f) out[f] = (b.y[row * stride + f] + a1[f] + a2[f] * b.gate[row * gate_stride + f]) * third;
    const Real *own = b.chi + row * layout.chi_stride, *mixed = b.mixed + row * layout.chi_stride;
    Real* chi_out = b.chi_out + row * layout.chi_stride;
    clear<Real>(layout.chi_stride, chi_out);
    for (int d = 0; d < degrees; ++d) {
      const int begin = layout.degree_offset[d], end = begin + 2 * layout.degree[d] + 1;
      for (int m = begin; m < end; ++m) chi_out[m] = own[m] + b1[d] * own[m] + b2[d] * mixed[m];
    }
  }
}

/// The sums of the attention are added to x and chi before.
template <class Real>
inline void add_attention(const Step<Real>& step, int first, int rows) {
  const Layout& layout = *step.layout;
  for (std::ptrdiff_t row = first; row < first + rows; ++row) {
    const Real *x = step.x + row * layout.feature_stride, *sum = step.sum_features + row * layout.features_padded;
    Real* out = step.x_attended + row * layout.feature_stride;
    clear<Real>(layout.feature_stride, out);
    for (int head = 0; head < layout.heads; ++head)
      for (int f = 0; f < layout.head_width; ++f) {
        const int at = head * layout.head_width + f;
        out[at] = x[at] + sum[head * layout.head_padded + f];
      }
    for (int m = 0; m < layout.chi_stride; ++m)
      step.chi_attended[row * layout.chi_stride + m] = step.chi[row * layout.chi_stride + m] + step.sum_chi[row * layout.chi_stride + m];
  }
}

template <class Real>
void node_forward_step(const Step<Real>& step, int begin, int end, Real* scratch) {
  const Layout& layout = *step.layout;
  NodeBlock<Real> b(*step.all_parameters, scratch);
  for (int first = begin; first < end; first += kNodeBlock) {
    const int rows = end - first < kNodeBlock ? end - first : kNodeBlock;
    add_attention<Real>(step, first, rows);
    node_body<Real>(step, first, rows, b);
    Real* x = step.x_next + static_cast<std::ptrdiff_t>(first) * layout.feature_stride;
    Real* chi = step.chi_next + static_cast<std::ptrdiff_t>(first) * layout.chi_stride;
    if (layout.norm_output)
      layer_norm<Real>(layout, step.parameters->norm2, rows, b.x_out, x);
    else
      copy_rows<Real>(rows * layout.feature_stride, b.x_out, x);
    copy_rows<Real>(rows * layout.chi_stride, b.chi_out, chi);
    if (step.parameters->coordinate_norm2 == nullptr) continue;
    for (int row = 0; row < rows; ++row)
      normalise_chi<Real>(layout, step.parameters->coordinate_norm2, b.chi_out + row * layout.chi_stride, chi + row * layout.chi_stride);
  }
}

/// From dE/d(x_out), dE/d(chi_out) of one block to dE/d(y), which replaces the first, and dE/d(chi), in b.gradient_chi.
template <class Real>
inline void node_body_adjoint(const Step<Real>& step, int rows, Real* gradient_x, const Real* gradient_chi, NodeBlock<Real>& b) {
  const Layout& layout = *step.layout;
  const auto& parameters = *step.parameters;
  const int stride = layout.feature_stride, features = layout.features, degrees = layout.num_degrees;
  const int gate_stride = padded<Real>(features), out_stride = step.all_parameters->exchange_out;
  const int degree_stride = step.all_parameters->degree_stride;
  const Real third = Real(0.57735026918962576451);  // 1 / sqrt(3)
  for (int row = 0; row < rows; ++row) {
    const Real *a2 = b.exchange_out + row * out_stride + features, *b1 = a2 + features, *b2 = b1 + degrees;
    Real* g1 = b.gradient_exchange + row * out_stride;
    Real *g2 = g1 + features, *h1 = g2 + features, *h2 = h1 + degrees;
    Real *g = gradient_x + row * stride, *gate = b.gate + row * gate_stride, *gradient_gate = b.gradient_gate + row * gate_stride;
    for (int f = 0; f < features; ++f) {
      g[f] *= third;
      g1[f] = g[f];
      g2[f] = g[f] * gate[f];
      gradient_gate[f] = g[f] * a2[f];
    }
    const std::ptrdiff_t at = row * layout.chi_stride;
    for (int d = 0; d < degrees; ++d) {
      const int begin = layout.degree_offset[d], end = begin + 2 * layout.degree[d] + 1;
      h1[d] = h2[d] = Real(0);
      for (int m = begin; m < end; ++m) {
        const Real gradient = gradient_chi[at + m];
        h1[d] += gradient * b.chi[at + m];
        h2[d] += gradient * b.mixed[at + m];
        b.gradient_chi[at + m] = (Real(1) + b1[d]) * gradient;
        b.gradient_mixed[at + m] = b2[d] * gradient;
      }
    }
  }
  apply<Real>(parameters.gate.adjoint, rows, b.gradient_gate, gate_stride, b.gradient_norm, degree_stride);
  apply<Real>(parameters.exchange.adjoint, rows, b.gradient_exchange, out_stride, b.gradient_in, layout.exchange_stride);
  for (int row = 0; row < rows; ++row) {
    const std::ptrdiff_t at = row * layout.chi_stride;
    Real *mixed = b.gradient_mixed + at, *own = b.gradient_chi + at;
    chi_norms_adjoint<Real>(layout, b.mixed + at, b.mixed_norm + row * degree_stride, b.gradient_norm + row * degree_stride, mixed);
    for (int k = 0; k < parameters.num_products; ++k) {
      const auto& product = parameters.products[k];
      const Real gradient = product.coefficient * mixed[product.out];
      own[product.first] += gradient * b.chi[at + product.second];
      own[product.second] += gradient * b.chi[at + product.first];
    }
    const Real* in = b.gradient_in + row * layout.exchange_stride;
    chi_norms_adjoint<Real>(layout, b.chi + at, b.exchange_in + row * layout.exchange_stride + features, in + features, own);
    for (int f = 0; f < features; ++f) gradient_x[row * stride + f] += in[f];
  }
}

/// gradient_x and gradient_chi: of the output of the layer, then of x_attended and chi_attended, which are also copied to where neighbours
/// read them.
template <class Real>
void node_adjoint_step(const Step<Real>& step, int begin, int end, Real* scratch) {
  const Layout& layout = *step.layout;
  const auto& parameters = *step.parameters;
  NodeBlock<Real> b(*step.all_parameters, scratch);
  const int stride = layout.feature_stride;
  for (int first = begin; first < end; first += kNodeBlock) {
    const int rows = end - first < kNodeBlock ? end - first : kNodeBlock;
    Real* gradient_x = step.gradient_x + static_cast<std::ptrdiff_t>(first) * stride;
    Real* gradient_chi = step.gradient_chi + static_cast<std::ptrdiff_t>(first) * layout.chi_stride;
    node_body<Real>(step, first, rows, b);
    if (layout.norm_output) layer_norm_adjoint<Real>(layout, parameters.norm2, rows, b.x_out, gradient_x);
    if (parameters.coordinate_norm2 != nullptr)
      for (int row = 0; row < rows; ++row)
        normalise_chi_adjoint<Real>(layout, parameters.coordinate_norm2, b.chi_out + row * layout.chi_stride,
                                    gradient_chi + row * layout.chi_stride);
    node_body_adjoint<Real>(step, rows, gradient_x, gradient_chi, b);
    if (layout.norm_attended)
      layer_norm_adjoint<Real>(layout, parameters.norm1, rows, step.x_attended + static_cast<std::ptrdiff_t>(first) * stride, gradient_x);
    for (std::ptrdiff_t row = 0; row < rows; ++row) {
      const Real* chi = step.chi_attended + (first + row) * layout.chi_stride;
      Real* own = b.gradient_chi + row * layout.chi_stride;
      if (parameters.coordinate_norm1 != nullptr) normalise_chi_adjoint<Real>(layout, parameters.coordinate_norm1, chi, own);
      Real* to_chi = step.gradient_chi_attended + (first + row) * layout.chi_stride;
      clear<Real>(layout.chi_stride, to_chi);
      for (int m = 0; m < layout.num_coordinates; ++m) gradient_chi[row * layout.chi_stride + m] = to_chi[m] = own[m];
      Real* to = step.gradient_attended + (first + row) * layout.features_padded;
      clear<Real>(layout.features_padded, to);
      for (int head = 0; head < layout.heads; ++head)
        for (int f = 0; f < layout.head_width; ++f)
          to[head * layout.head_padded + f] = gradient_x[row * stride + head * layout.head_width + f];
    }
  }
}

template <class Real>
void project_step(const Step<Real>& step, int begin, int end, Real* projection) {
  const Layout& layout = *step.layout;
  for (int first = begin; first < end; first += kNodeBlock) {
    const int rows = end - first < kNodeBlock ? end - first : kNodeBlock;
    apply<Real>(step.parameters->projection.forward, rows, step.x + static_cast<std::ptrdiff_t>(first) * layout.feature_stride,
                layout.feature_stride, projection + static_cast<std::ptrdiff_t>(first) * layout.projection_stride,
                layout.projection_stride);
  }
}

/// gradient_x gains what came back through [q, k, v, q', k'].
template <class Real>
void project_adjoint_step(const Step<Real>& step, int begin, int end, Real*) {
  const Layout& layout = *step.layout;
  for (int first = begin; first < end; first += kNodeBlock) {
    const int rows = end - first < kNodeBlock ? end - first : kNodeBlock;
    add_product<Real>(step.parameters->projection.adjoint, rows,
                      step.gradient_projection + static_cast<std::ptrdiff_t>(first) * layout.projection_stride, layout.projection_stride,
                      step.gradient_x + static_cast<std::ptrdiff_t>(first) * layout.feature_stride, layout.feature_stride);
  }
}

template <class Real>
void energy_forward(const paper2022::Parameters<Real>& parameters, const Real* x, int begin, int end, double* energy, Real* scratch) {
  const Layout& layout = parameters.layout;
  const int stride = layout.feature_stride;
  ReadoutBuffers<Real> buffers(parameters.energy, scratch);
  for (int first = begin; first < end; first += kNodeBlock) {
    const int rows = end - first < kNodeBlock ? end - first : kNodeBlock;
    scalar_head<Real>(parameters.energy, layout.energy_activation, rows, x + static_cast<std::ptrdiff_t>(first) * stride, stride, buffers,
                      energy + first, nullptr, 0);
  }
}

template <class Real>
void energy_adjoint(const paper2022::Parameters<Real>& parameters, const Real* x, int begin, int end, const double* gradient,
                    Real* gradient_x, Real* scratch) {
  const Layout& layout = parameters.layout;
  const int stride = layout.feature_stride;
  ReadoutBuffers<Real> buffers(parameters.energy, scratch);
  for (int first = begin; first < end; first += kNodeBlock) {
    const int rows = end - first < kNodeBlock ? end - first : kNodeBlock;
    Real* out = gradient_x + static_cast<std::ptrdiff_t>(first) * stride;
    clear<Real>(rows * stride, out);
    double energy[kNodeBlock];
    scalar_head<Real>(parameters.energy, layout.energy_activation, rows, x + static_cast<std::ptrdiff_t>(first) * stride, stride, buffers,
                      energy, out, stride);
    for (int row = 0; row < rows; ++row)
      for (int k = 0; k < stride; ++k) out[row * stride + k] *= static_cast<Real>(gradient[first + row]);
  }
}

}  // namespace SO3MD_CPU_NAMESPACE::paper
