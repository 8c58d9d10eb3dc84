// Per-atom part of a layer: layer norms, residual MLPs and the exchange block, forward and adjoint. Blocks of atoms pass through in cache.
// Results of large products are kept for the adjoint (Layout::record); what costs little is computed again, from x_attended and
// chi_attended.
#pragma once

#include "cpu/norm_kernels.h"
#include "cpu/projection_kernels.h"
#include "cpu/residual_kernels.h"

namespace SO3MD_CPU_NAMESPACE {

/// m_l(chi) = (2l+1)^(-1/2) sum_m chi_lm^2 of one row (eq. 16).
template <class Real>
inline void invariants(const Layout& layout, const Real* chi, Real* out) {
  for (int index = 0; index < layout.num_degrees; ++index) {
    const Real* block = chi + layout.degree_offset[index];
    Real squares = Real(0);
    for (int m = 0; m <= 2 * layout.degree[index]; ++m) squares += block[m] * block[m];
    out[index] = squares * static_cast<Real>(layout.invariant_norm[index]);
  }
}

/// Of one block of atoms: what is kept of it.
template <class Real>
struct NodeRecord {
  NodeRecord(const LayerStep<Real>& step, int first) {
    const NodeRecordLayout& at = step.layout->record;
    Real* memory = step.record + static_cast<std::ptrdiff_t>(first / kNodeBlock) * at.size;
    output = memory + at.output;
    exchange_input = memory + at.exchange_input;
    mlp1 = {nullptr, memory + at.mlp1_inner, memory + at.mlp1_outer};
    mlp2 = {memory + at.mlp2_input, memory + at.mlp2_inner, memory + at.mlp2_outer};
    scale = memory + at.scale;
  }
  Real *output, *exchange_input, *scale;
  ResidualSlopes<Real> mlp1, mlp2;
};

/// Of one block of atoms: scratch.
template <class Real>
struct NodeBuffers {
  NodeBuffers(const Layout& layout, Real* scratch) {
    const int block = kNodeBlock * layout.feature_stride;
    input = scratch;
    inner = input + block;
    outer = inner + block;
    normal = outer + block;
    exchange_in = normal + block;
    exchange_out = exchange_in + kNodeBlock * layout.exchange_stride;
  }
  static std::size_t size(const Layout& layout) {
    return static_cast<std::size_t>(kNodeBlock) * static_cast<std::size_t>(4 * layout.feature_stride + 2 * layout.exchange_stride);
  }
  Real *input, *inner, *outer, *normal, *exchange_in, *exchange_out;
};

/// Exchange block (eq. 25): x gains a, and record.scale holds b; chi_next = (1 + b_l) chi_l.
template <class Real>
inline void exchange_forward(const LayerStep<Real>& step, int first, int rows, Real* x, const NodeRecord<Real>& record,
                             NodeBuffers<Real>& b) {
  const Layout& layout = *step.layout;
  const int stride = layout.feature_stride;
  const Real* from = x;
  if (layout.norm_exchange) {
    copy_rows<Real>(rows * stride, x, record.exchange_input);
    layer_norm<Real>(layout, step.parameters->norm2, rows, x, b.normal);
    from = b.normal;
  }
  for (int row = 0; row < rows; ++row) {
    Real* in = b.exchange_in + row * layout.exchange_stride;
    for (int i = 0; i < layout.features; ++i) in[i] = from[row * stride + i];
    invariants<Real>(layout, step.chi_attended + static_cast<std::ptrdiff_t>(first + row) * layout.chi_stride, in + layout.features);
  }
  apply<Real>(step.parameters->exchange.forward, rows, b.exchange_in, layout.exchange_stride, b.exchange_out, layout.exchange_stride);
  for (int row = 0; row < rows; ++row) {
    const Real* out = b.exchange_out + row * layout.exchange_stride;
    for (int i = 0; i < layout.features; ++i) x[row * stride + i] += out[i];
    Real* scale = record.scale + row * layout.num_degrees;
    const std::ptrdiff_t chi_offset = static_cast<std::ptrdiff_t>(first + row) * layout.chi_stride;
    for (int index = 0; index < layout.num_degrees; ++index) {
      scale[index] = out[layout.features + index];
      for (int m = 0; m <= 2 * layout.degree[index]; ++m) {
        const int place = layout.degree_offset[index] + m;
        step.chi_next[chi_offset + place] = step.chi_attended[chi_offset + place] * (Real(1) + scale[index]);
      }
    }
  }
}

/// x_next from what came out of the last block: the norms behind it.
template <class Real>
inline void output_norms(const LayerStep<Real>& step, int rows, const Real* x, Real* x_next) {
  const Layout& layout = *step.layout;
  const LayerParameters<Real>& parameters = *step.parameters;
  if (layout.norm_output)
    layer_norm<Real>(layout, parameters.norm2, rows, x, x_next);
  else
    copy_rows<Real>(rows * layout.feature_stride, x, x_next);
  if (parameters.final_norm.scale != nullptr) layer_norm<Real>(layout, parameters.final_norm, rows, x_next, x_next);
}

/// What the next layer starts with (eq. 94): its two numbers times x_next and times the features after the embedding.
template <class Real>
inline void mix_embedding(const LayerStep<Real>& step, int first, int rows, Real* x_next) {
  const int stride = step.layout->feature_stride;
  const Real input = step.parameters->next_input_scale, embedding = step.parameters->next_embedding_scale;
  for (int row = 0; row < rows; ++row) {
    Real* x = x_next + row * stride;
    const Real* embedded = step.embedded + static_cast<std::ptrdiff_t>(step.species[first + row]) * stride;
    for (int i = 0; i < stride; i += kWidth<Real>) store<Real>(x + i, input * load<Real>(x + i) + embedding * load<Real>(embedded + i));
  }
}

template <class Real>
void node_forward(const LayerStep<Real>& step, int begin, int end, Real* scratch) {
  const Layout& layout = *step.layout;
  NodeBuffers<Real> b(layout, scratch);
  for (int first = begin; first < end; first += kNodeBlock) {
    const int rows = end - first < kNodeBlock ? end - first : kNodeBlock;
    const std::ptrdiff_t offset = static_cast<std::ptrdiff_t>(first) * layout.feature_stride;
    NodeRecord<Real> record(step, first);
    record.mlp1.input = b.input;
    Real* x = record.output;
    if (layout.norm_attended)
      layer_norm<Real>(layout, step.parameters->norm1, rows, step.x_attended + offset, x);
    else
      copy_rows<Real>(rows * layout.feature_stride, step.x_attended + offset, x);
    if (layout.residual_mlp_1) residual_forward<Real>(layout, step.parameters->mlp1, rows, x, record.mlp1, b.inner);
    exchange_forward<Real>(step, first, rows, x, record, b);
    if (layout.residual_mlp_2) residual_forward<Real>(layout, step.parameters->mlp2, rows, x, record.mlp2, b.inner);
    output_norms<Real>(step, rows, x, step.x_next + offset);
    if (step.embedded != nullptr) mix_embedding<Real>(step, first, rows, step.x_next + offset);
  }
}

/// Adds what came back through the exchange block to the gradient of its input.
template <class Real>
inline void exchange_input_gradient(const LayerStep<Real>& step, int rows, const Real* in_gradient, const NodeRecord<Real>& record,
                                    Real* gradient, NodeBuffers<Real>& b) {
  const Layout& layout = *step.layout;
  const int stride = layout.feature_stride;
  if (!layout.norm_exchange) {
    for (int row = 0; row < rows; ++row)
      for (int i = 0; i < layout.features; ++i) gradient[row * stride + i] += in_gradient[row * layout.exchange_stride + i];
    return;
  }
  set_zero_rows<Real>(rows * stride, b.normal);
  for (int row = 0; row < rows; ++row)
    for (int i = 0; i < layout.features; ++i) b.normal[row * stride + i] = in_gradient[row * layout.exchange_stride + i];
  layer_norm_adjoint<Real>(layout, step.parameters->norm2, rows, record.exchange_input, b.normal);
  add_rows<Real>(rows * stride, b.normal, gradient);
}

/// Exchange block backwards: gradient passes on and gains L^T; chi: chi_l (1 + b_l) and the invariants.
template <class Real>
inline void exchange_adjoint(const LayerStep<Real>& step, int first, int rows, const NodeRecord<Real>& record, Real* gradient,
                             NodeBuffers<Real>& b) {
  const Layout& layout = *step.layout;
  const int stride = layout.exchange_stride;
  for (int row = 0; row < rows; ++row) {
    const std::ptrdiff_t chi_offset = static_cast<std::ptrdiff_t>(first + row) * layout.chi_stride;
    const Real* chi = step.chi_attended + chi_offset;
    const Real* chi_gradient = step.gradient_chi + chi_offset;
    Real* out_gradient = b.exchange_in + row * stride;
    for (int i = 0; i < layout.features; ++i) out_gradient[i] = gradient[row * layout.feature_stride + i];
    for (int i = layout.features; i < stride; ++i) out_gradient[i] = Real(0);
    Real* attended_gradient = step.gradient_chi_attended + chi_offset;
    for (int index = 0; index < layout.num_degrees; ++index) {
      const Real scale = Real(1) + record.scale[row * layout.num_degrees + index];
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
      const Real factor = static_cast<Real>(2.0 * layout.invariant_norm[index]) * in_gradient[row * stride + layout.features + index];
      for (int m = 0; m <= 2 * layout.degree[index]; ++m) {
        const int place = layout.degree_offset[index] + m;
        step.gradient_chi_attended[chi_offset + place] += factor * step.chi_attended[chi_offset + place];
      }
    }
  }
  exchange_input_gradient<Real>(step, rows, in_gradient, record, gradient, b);
}

/// gradient (dE/dx_next) becomes that of what came out of the last block.
template <class Real>
inline void output_norms_adjoint(const LayerStep<Real>& step, int rows, const Real* x, Real* gradient, NodeBuffers<Real>& b) {
  const Layout& layout = *step.layout;
  const LayerParameters<Real>& parameters = *step.parameters;
  if (parameters.final_norm.scale != nullptr) {
    const Real* normalised = x;
    if (layout.norm_output) {
      layer_norm<Real>(layout, parameters.norm2, rows, x, b.normal);
      normalised = b.normal;
    }
    layer_norm_adjoint<Real>(layout, parameters.final_norm, rows, normalised, gradient);
  }
  if (layout.norm_output) layer_norm_adjoint<Real>(layout, parameters.norm2, rows, x, gradient);
}

/// gradient (of what came out of the first residual MLP) becomes dE/d(x_attended).
template <class Real>
inline void attended_adjoint(const LayerStep<Real>& step, int rows, const Real* x_attended, const NodeRecord<Real>& record, Real* gradient,
                             NodeBuffers<Real>& b) {
  const Layout& layout = *step.layout;
  if (layout.residual_mlp_1) {
    if (layout.norm_attended)
      layer_norm<Real>(layout, step.parameters->norm1, rows, x_attended, b.input);
    else
      copy_rows<Real>(rows * layout.feature_stride, x_attended, b.input);
    activate_keep_slope<Real>(layout.activation, rows * layout.feature_stride, b.input, b.inner);
    residual_adjoint<Real>(layout, step.parameters->mlp1, rows, {b.input, record.mlp1.inner, record.mlp1.outer}, gradient, b.inner,
                           b.outer);
  }
  if (layout.norm_attended) layer_norm_adjoint<Real>(layout, step.parameters->norm1, rows, x_attended, gradient);
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
  for (int species = 0; species < first.num_species; ++species) {
    if (first.tables[species * first.num_species + species] == nullptr) continue;  // no such atoms: nobody will read it
    for (int head = 0; head < layout.heads; ++head) {
      const Real* value = first.values + species * layout.features_padded + head * layout.head_padded;
      Vec<Real> product = Vec<Real>{};
      for (int d = 0; d < layout.head_padded; d += kWidth<Real>)
        product += load<Real>(value + d) * load<Real>(out + head * layout.head_padded + d);
      projected[species * layout.heads + head] = sum<Real>(product);
    }
  }
}

template <class Real>
void node_adjoint(const LayerStep<Real>& step, int begin, int end, Real* scratch) {
  const Layout& layout = *step.layout;
  const int stride = layout.feature_stride;
  NodeBuffers<Real> b(layout, scratch);
  for (int first = begin; first < end; first += kNodeBlock) {
    const int rows = end - first < kNodeBlock ? end - first : kNodeBlock;
    const std::ptrdiff_t offset = static_cast<std::ptrdiff_t>(first) * stride;
    const NodeRecord<Real> record(step, first);
    Real* gradient = step.gradient_x + offset;
    if (step.embedded != nullptr)
      for (int i = 0; i < rows * stride; i += kWidth<Real>)
        store<Real>(gradient + i, step.parameters->next_input_scale * load<Real>(gradient + i));
    output_norms_adjoint<Real>(step, rows, record.output, gradient, b);
    if (layout.residual_mlp_2) residual_adjoint<Real>(layout, step.parameters->mlp2, rows, record.mlp2, gradient, b.inner, b.outer);
    exchange_adjoint<Real>(step, first, rows, record, gradient, b);
    attended_adjoint<Real>(step, rows, step.x_attended + offset, record, gradient, b);
    for (int row = 0; row < rows; ++row) store_gradient_attended<Real>(step, first + row, gradient + row * stride);
  }
}

}  // namespace SO3MD_CPU_NAMESPACE
