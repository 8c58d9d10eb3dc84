// Per-atom part of a layer: layer norms, residual MLPs and the exchange block, forward and adjoint, and the projections to queries,
// keys and values. Blocks of atoms pass through in cache; the adjoint recomputes what it needs from x_attended and chi_attended.
#pragma once

#include "cpu/activation.h"
#include "cpu/matmul.h"
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

/// Mean and 1 / sqrt(variance + epsilon) of one row of `count` numbers that may end inside a register.
template <class Real>
inline void row_statistics(const Real* x, int count, Real epsilon, Real& mean, Real& inverse_deviation) {
  const int whole = count / kWidth<Real> * kWidth<Real>;
  Vec<Real> sums = Vec<Real>{};
  for (int i = 0; i < whole; i += kWidth<Real>) sums += load<Real>(x + i);
  Real total = sum<Real>(sums);
  for (int i = whole; i < count; ++i) total += x[i];
  mean = total / static_cast<Real>(count);
  Vec<Real> squares = Vec<Real>{};
  for (int i = 0; i < whole; i += kWidth<Real>) {
    const Vec<Real> difference = load<Real>(x + i) - mean;
    squares += difference * difference;
  }
  Real variance = sum<Real>(squares);
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
    row_statistics<Real>(x + row * stride, layout.features, static_cast<Real>(layout.layer_norm_epsilon), mean, inverse);
    for (int i = 0; i < stride; i += kWidth<Real>) {
      const Vec<Real> normal = (load<Real>(x + row * stride + i) - mean) * inverse;
      store<Real>(out + row * stride + i, normal * load<Real>(norm.scale + i) + load<Real>(norm.bias + i));
    }
  }
}

/// gradient (dE/dout) becomes dE/dx: with s = scale * gradient and n the normalised row, (s - mean(s) - n mean(s n)) / deviation.
template <class Real>
inline void layer_norm_adjoint(const Layout& layout, const NormParameters<Real>& norm, int rows, const Real* x, Real* gradient) {
  const int stride = layout.feature_stride;
  for (int row = 0; row < rows; ++row) {
    Real* g = gradient + row * stride;
    const Real* input = x + row * stride;
    Real mean, inverse;
    row_statistics<Real>(input, layout.features, static_cast<Real>(layout.layer_norm_epsilon), mean, inverse);
    Vec<Real> sum_s = Vec<Real>{}, sum_sn = Vec<Real>{};
    for (int i = 0; i < stride; i += kWidth<Real>) {
      const Vec<Real> s = load<Real>(g + i) * load<Real>(norm.scale + i);
      store<Real>(g + i, s);
      sum_s += s;
      sum_sn += s * (load<Real>(input + i) - mean) * inverse;
    }
    const Real mean_s = sum<Real>(sum_s) / static_cast<Real>(layout.features);
    const Real mean_sn = sum<Real>(sum_sn) / static_cast<Real>(layout.features);
    for (int i = 0; i < stride; i += kWidth<Real>) {
      const Vec<Real> n = (load<Real>(input + i) - mean) * inverse;
      store<Real>(g + i, (load<Real>(g + i) - mean_s - n * mean_sn) * inverse);
    }
    for (int i = layout.features; i < stride; ++i) g[i] = Real(0);
  }
}

/// m_l(chi) = (2l+1)^(-1/2) sum_m chi_lm^2 of one row (eq. 16).
template <class Real>
inline void invariants(const Layout& layout, const Real* chi, Real* out) {
  for (int index = 0; index < layout.num_degrees; ++index) {
    const int count = 2 * layout.degree[index] + 1;
    const Real* block = chi + layout.degree_offset[index];
    Real squares = Real(0);
    for (int m = 0; m < count; ++m) squares += block[m] * block[m];
    out[index] = squares / static_cast<Real>(__builtin_sqrt(static_cast<double>(count)));
  }
}

/// y = dense2 act(dense1 act(x) + b) + b' is added to x (eq. 24). With `kept`, the slopes of both activations stay there for the adjoint
/// (two blocks of rows); else it is scratch.
template <class Real>
inline void residual_forward(const Layout& layout, const ResidualParameters<Real>& mlp, int rows, Real* x, Real* kept, Real* value) {
  const int stride = layout.feature_stride, count = rows * stride;
  Real* slope1 = kept;
  Real* slope2 = kept + kNodeBlock * stride;
  copy_rows<Real>(count, x, slope1);
  activate_keep_slope<Real>(layout.activation, count, slope1, value);
  for (int i = 0; i < count; ++i) slope2[i] = Real(0);
  apply<Real>(mlp.dense1.forward, rows, value, stride, slope2, stride);
  activate_keep_slope<Real>(layout.activation, count, slope2, value);
  for (int row = 0; row < rows; ++row)
    for (int i = 0; i < mlp.dense2.forward.columns; i += kWidth<Real>)
      store<Real>(x + row * stride + i, load<Real>(x + row * stride + i) + load<Real>(mlp.dense2.forward.bias + i));
  add_product<Real>(mlp.dense2.forward, rows, value, stride, x, stride);
}

/// gradient (dE/d of the sum) becomes dE/dx.
template <class Real>
inline void residual_adjoint(const Layout& layout, const ResidualParameters<Real>& mlp, int rows, const Real* kept, Real* gradient,
                             Real* inner, Real* outer) {
  const int stride = layout.feature_stride, count = rows * stride;
  const Real* slope1 = kept;
  const Real* slope2 = kept + kNodeBlock * stride;
  for (int i = 0; i < count; ++i) inner[i] = outer[i] = Real(0);
  apply<Real>(mlp.dense2.adjoint, rows, gradient, stride, inner, stride);
  multiply_rows<Real>(count, slope2, inner);
  apply<Real>(mlp.dense1.adjoint, rows, inner, stride, outer, stride);
  multiply_rows<Real>(count, slope1, outer);
  add_rows<Real>(count, outer, gradient);
}

/// Buffers of one block of atoms.
template <class Real>
struct NodeBuffers {
  NodeBuffers(const Layout& layout, Real* scratch) {
    const int block = kNodeBlock * layout.feature_stride;
    y = scratch;
    kept1 = y + block;
    kept2 = kept1 + 2 * block;
    value = kept2 + 2 * block;
    inner = value + block;
    before_norm2 = inner + block;
    exchange_in = before_norm2 + block;
    exchange_out = exchange_in + kNodeBlock * layout.exchange_stride;
  }
  static std::size_t size(const Layout& layout) {
    return static_cast<std::size_t>(kNodeBlock) * static_cast<std::size_t>(8 * layout.feature_stride + 2 * layout.exchange_stride);
  }
  Real *y, *kept1, *kept2, *value, *inner, *before_norm2, *exchange_in, *exchange_out;
};

/// Steps from x_attended to the input of the last layer norm, in b.before_norm2; and the output of the exchange block.
template <class Real>
inline void node_body(const LayerStep<Real>& step, const Real* x_attended, const Real* chi_attended, int rows, NodeBuffers<Real>& b) {
  const Layout& layout = *step.layout;
  const int stride = layout.feature_stride, count = rows * stride;
  if (layout.layer_norm_1)
    layer_norm<Real>(layout, step.parameters->norm1, rows, x_attended, b.y);
  else
    copy_rows<Real>(count, x_attended, b.y);
  if (layout.residual_mlp_1) residual_forward<Real>(layout, step.parameters->mlp1, rows, b.y, b.kept1, b.value);

  for (int row = 0; row < rows; ++row) {
    Real* in = b.exchange_in + row * layout.exchange_stride;
    for (int i = 0; i < layout.features; ++i) in[i] = b.y[row * stride + i];
    invariants<Real>(layout, chi_attended + row * layout.chi_stride, in + layout.features);
  }
  apply<Real>(step.parameters->exchange.forward, rows, b.exchange_in, layout.exchange_stride, b.exchange_out, layout.exchange_stride);
  for (int row = 0; row < rows; ++row)
    for (int i = 0; i < layout.features; ++i) b.y[row * stride + i] += b.exchange_out[row * layout.exchange_stride + i];
  if (layout.residual_mlp_2) residual_forward<Real>(layout, step.parameters->mlp2, rows, b.y, b.kept2, b.value);
  copy_rows<Real>(count, b.y, b.before_norm2);
}

template <class Real>
void node_forward(const LayerStep<Real>& step, int begin, int end, Real* scratch) {
  const Layout& layout = *step.layout;
  NodeBuffers<Real> b(layout, scratch);
  for (int first = begin; first < end; first += kNodeBlock) {
    const int rows = end - first < kNodeBlock ? end - first : kNodeBlock;
    const std::ptrdiff_t x_offset = static_cast<std::ptrdiff_t>(first) * layout.feature_stride;
    const std::ptrdiff_t chi_offset = static_cast<std::ptrdiff_t>(first) * layout.chi_stride;
    const Real* chi = step.chi_attended + chi_offset;
    node_body<Real>(step, step.x_attended + x_offset, chi, rows, b);
    if (layout.layer_norm_2)
      layer_norm<Real>(layout, step.parameters->norm2, rows, b.before_norm2, step.x_next + x_offset);
    else
      copy_rows<Real>(rows * layout.feature_stride, b.before_norm2, step.x_next + x_offset);
    for (int row = 0; row < rows; ++row) {
      const Real* scale = b.exchange_out + row * layout.exchange_stride + layout.features;
      const Real* in = chi + row * layout.chi_stride;
      Real* out = step.chi_next + chi_offset + row * layout.chi_stride;
      for (int index = 0; index < layout.num_degrees; ++index)
        for (int m = 0; m <= 2 * layout.degree[index]; ++m) {
          const int place = layout.degree_offset[index] + m;
          out[place] = in[place] * (Real(1) + scale[index]);
        }
    }
  }
}

/// Exchange block (eq. 25) backwards: gradient of x passes on and gains L^T; chi: chi_l (1 + b_l) and the invariants.
template <class Real>
inline void exchange_adjoint(const LayerStep<Real>& step, int first, int rows, const Real* gradient, NodeBuffers<Real>& b) {
  const Layout& layout = *step.layout;
  const int width = layout.features + layout.num_degrees, stride = layout.exchange_stride;
  for (int row = 0; row < rows; ++row) {
    const std::ptrdiff_t chi_offset = static_cast<std::ptrdiff_t>(first + row) * layout.chi_stride;
    const Real* chi = step.chi_attended + chi_offset;
    const Real* chi_gradient = step.gradient_chi + chi_offset;
    Real* out_gradient = b.exchange_in + row * stride;  // the input is not needed any more
    for (int i = 0; i < layout.features; ++i) out_gradient[i] = gradient[row * layout.feature_stride + i];
    for (int i = layout.features; i < stride; ++i) out_gradient[i] = Real(0);
    Real* attended_gradient = step.gradient_chi_attended + chi_offset;
    for (int index = 0; index < layout.num_degrees; ++index) {
      const Real scale = Real(1) + b.exchange_out[row * stride + layout.features + index];
      Real product = Real(0);
      for (int m = 0; m <= 2 * layout.degree[index]; ++m) {
        const int place = layout.degree_offset[index] + m;
        product += chi[place] * chi_gradient[place];
        attended_gradient[place] = chi_gradient[place] * scale;
      }
      out_gradient[layout.features + index] = product;
    }
  }
  Real* in_gradient = b.exchange_out;
  apply<Real>(step.parameters->exchange.adjoint, rows, b.exchange_in, stride, in_gradient, stride);
  for (int row = 0; row < rows; ++row) {
    const std::ptrdiff_t chi_offset = static_cast<std::ptrdiff_t>(first + row) * layout.chi_stride;
    for (int index = 0; index < layout.num_degrees; ++index) {
      const int count = 2 * layout.degree[index] + 1;
      const Real factor =
          Real(2) * in_gradient[row * stride + layout.features + index] / static_cast<Real>(__builtin_sqrt(static_cast<double>(count)));
      for (int m = 0; m < count; ++m) {
        const int place = layout.degree_offset[index] + m;
        step.gradient_chi_attended[chi_offset + place] += factor * step.chi_attended[chi_offset + place];
      }
    }
    for (int i = width; i < stride; ++i) in_gradient[row * stride + i] = Real(0);
  }
}

/// gradient_attended in head layout; in the first layer also its products with the value vectors of every species.
template <class Real>
inline void store_gradient_attended(const LayerStep<Real>& step, int slot, const Real* gradient) {
  const Layout& layout = *step.layout;
  Real* out = step.gradient_attended + static_cast<std::ptrdiff_t>(slot) * layout.features_padded;
  for (int head = 0; head < layout.heads; ++head)
    for (int d = 0; d < layout.head_width; ++d) out[head * layout.head_padded + d] = gradient[head * layout.head_width + d];
  if (step.first_layer == nullptr) return;
  const FirstLayer<Real>& first = *step.first_layer;
  Real* projected = step.gradient_projected + static_cast<std::ptrdiff_t>(slot) * first.num_species * layout.heads;
  for (int species = 0; species < first.num_species; ++species)
    for (int head = 0; head < layout.heads; ++head) {
      const Real* value = first.values + species * layout.features_padded + head * layout.head_padded;
      Vec<Real> product = Vec<Real>{};
      for (int d = 0; d < layout.head_padded; d += kWidth<Real>)
        product += load<Real>(value + d) * load<Real>(out + head * layout.head_padded + d);
      projected[species * layout.heads + head] = sum<Real>(product);
    }
}

template <class Real>
void node_adjoint(const LayerStep<Real>& step, int begin, int end, Real* scratch) {
  const Layout& layout = *step.layout;
  const int stride = layout.feature_stride;
  NodeBuffers<Real> b(layout, scratch);
  for (int first = begin; first < end; first += kNodeBlock) {
    const int rows = end - first < kNodeBlock ? end - first : kNodeBlock;
    const Real* x_attended = step.x_attended + static_cast<std::ptrdiff_t>(first) * stride;
    Real* gradient = step.gradient_x + static_cast<std::ptrdiff_t>(first) * stride;
    node_body<Real>(step, x_attended, step.chi_attended + static_cast<std::ptrdiff_t>(first) * layout.chi_stride, rows, b);
    if (layout.layer_norm_2) layer_norm_adjoint<Real>(layout, step.parameters->norm2, rows, b.before_norm2, gradient);
    if (layout.residual_mlp_2) residual_adjoint<Real>(layout, step.parameters->mlp2, rows, b.kept2, gradient, b.inner, b.value);
    exchange_adjoint<Real>(step, first, rows, gradient, b);
    for (int row = 0; row < rows; ++row)
      for (int i = 0; i < layout.features; ++i) gradient[row * stride + i] += b.exchange_out[row * layout.exchange_stride + i];
    if (layout.residual_mlp_1) residual_adjoint<Real>(layout, step.parameters->mlp1, rows, b.kept1, gradient, b.inner, b.value);
    if (layout.layer_norm_1) layer_norm_adjoint<Real>(layout, step.parameters->norm1, rows, x_attended, gradient);
    for (int row = 0; row < rows; ++row) store_gradient_attended<Real>(step, first + row, gradient + row * stride);
  }
}

// --- projections ---

template <class Real>
inline void project_heads(const HeadLinear<Real>& heads, int rows, const Real* x, int x_stride, Real* out, int out_stride) {
  for (int head = 0; head < heads.heads; ++head)
    matmul<Real, Start::zero>(rows, x + head * heads.width, x_stride, heads.forward + head * heads.head_size, nullptr, heads.width,
                              heads.padded_width, out + head * heads.padded_width, out_stride);
}

template <class Real>
inline void project_heads_adjoint(const HeadLinear<Real>& heads, int rows, const Real* gradient, int stride, Real* x_gradient,
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

template <class Real>
void project(const Layout& layout, const LayerParameters<Real>& parameters, const Real* x, int rows, Real* projection) {
  project_linear<Real>(layout, parameters, x, rows, projection);
  if (layout.query_key_activation == Activation::identity) return;
  for_queries_and_keys<Real>(layout, rows, projection,
                             [&](Real* part, int count) { activate_rows<Real>(layout.query_key_activation, count, part, part); });
}

/// gradient: rows of dE/d[q, k, v, q', k'] of one atom block, changed; x: the layer's input; x_gradient is added to.
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

}  // namespace SO3MD_CPU_NAMESPACE
