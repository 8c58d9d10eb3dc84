// Per-atom steps of the heat flux: linear maps, activations, norms and the exchange block for rows with five parts
// (csrc/heat_flux/kernels.h).
#pragma once

#include "cpu/activation.h"
#include "cpu/matmul.h"
#include "cpu/norm_kernels.h"
#include "cpu/projection_kernels.h"
#include "heat_flux/kernels.h"

namespace SO3MD_CPU_NAMESPACE::heat_flux {

using so3md::heat_flux::kBlock;
using so3md::heat_flux::kMoment;
using so3md::heat_flux::kParts;
using so3md::heat_flux::kRate;
using so3md::heat_flux::kValue;
using so3md::heat_flux::LayerStep;
using so3md::heat_flux::PairStep;
using so3md::heat_flux::ReadoutStep;

inline constexpr int kLanes = kWidth<double>;

/// c = a W, or c += a W, for rows of numbers, without a bias.
[[gnu::noinline]] inline void multiply(const Linear<double>& map, int rows, const double* a, int lda, double* c, int ldc) {
  matmul<double, Start::zero>(rows, a, lda, map.weight, nullptr, map.depth, map.columns, c, ldc);
}

[[gnu::noinline]] inline void multiply_add(const Linear<double>& map, int rows, const double* a, int lda, double* c, int ldc) {
  matmul<double, Start::accumulate>(rows, a, lda, map.weight, nullptr, map.depth, map.columns, c, ldc);
}

/// Adds the bias of a map to the values of atoms; rates and moments have none.
inline void add_bias(const Linear<double>& map, int atoms, double* c, int ldc) {
  for (int atom = 0; map.bias != nullptr && atom < atoms; ++atom) add_rows<double>(map.columns, map.bias, c + atom * kParts * ldc);
}

/// c = W a + b.
inline void dense(const Linear<double>& map, int atoms, const double* a, int lda, double* c, int ldc) {
  multiply(map, kParts * atoms, a, lda, c, ldc);
  add_bias(map, atoms, c, ldc);
}

/// Activation of `count` columns, for `parts` rows of each atom, in place: values become act(z), all else is multiplied by act'(z).
inline void activate(Activation type, int atoms, int parts, int count, int stride, double* z) {
  if (type == Activation::identity) return;
  with_activation(type, [&](auto kind) __attribute__((always_inline)) {
    for (int atom = 0; atom < atoms; ++atom)
      for (int i = 0; i < count; i += kLanes) {
        double* at = z + atom * parts * stride + i;
        Vec<double> slope;
        store<double>(at, activation<double>(kind, load<double>(at), slope));
        for (int part = 1; part < parts; ++part) store<double>(at + part * stride, load<double>(at + part * stride) * slope);
      }
  });
}

/// out = layer norm of x (eq. 23). With n = (x - mean) / deviation, a change t of x changes n by (t - mean(t) - n mean(t n)) / deviation;
/// no mean is taken away of an RMS norm (eq. 92).
inline void norm(const Layout& layout, const NormParameters<double>& parameters, int atoms, const double* x, double* out) {
  const int stride = layout.feature_stride, features = layout.features;
  for (int atom = 0; atom < atoms; ++atom, x += kParts * stride, out += kParts * stride) {
    double mean, inverse;
    row_statistics<double>(x, features, layout.rms_norm, layout.layer_norm_epsilon, mean, inverse);
    for (int part = kParts - 1; part >= 0; --part) {
      const double* t = x + part * stride;
      double mean_t = mean, mean_tn = 0.0;
      if (part != kValue) {
        double sum_t = 0.0, sum_tn = 0.0;
        for (int i = 0; i < features; ++i) {
          sum_t += t[i];
          sum_tn += t[i] * (x[i] - mean) * inverse;
        }
        mean_t = layout.rms_norm ? 0.0 : sum_t / features;
        mean_tn = sum_tn / features;
      }
      double* to = out + part * stride;
      for (int i = 0; i < stride; ++i) {
        const double n = (x[i] - mean) * inverse;
        to[i] = (t[i] - mean_t - (part == kValue ? 0.0 : n * mean_tn)) * inverse * parameters.scale[i] +
                (part == kValue ? parameters.bias[i] : 0.0);
      }
    }
  }
}

/// Queries and keys of atoms over their root mean square, head by head (eq. 93); of a change t of a head that is r a = y now, r (t - y
/// mean(y t)) is left.
inline void normalise_queries_and_keys(const Layout& layout, int atoms, double* projection) {
  const int stride = layout.projection_stride;
  for (int atom = 0; atom < atoms; ++atom, projection += kParts * stride)
    for_heads(layout, [&](int, int offset, int width, int padded_width) __attribute__((always_inline)) {
      double* y = projection + offset;
      const double factor = inverse_root_mean_square<double>(layout, y, width, padded_width);
      for (int i = 0; i < padded_width; i += kLanes) store<double>(y + i, factor * load<double>(y + i));
      for (int part = 1; part < kParts; ++part) {
        double* t = y + part * stride;
        Vec<double> products{};
        for (int i = 0; i < padded_width; i += kLanes) products += load<double>(y + i) * load<double>(t + i);
        const double mean = factor * sum<double>(products) / width;
        for (int i = 0; i < padded_width; i += kLanes) store<double>(t + i, factor * load<double>(t + i) - mean * load<double>(y + i));
      }
    });
}

/// What the next layer starts with (eq. 94), in place. The features after the embedding do not change.
inline void mix_embedded(const LayerStep& step, int first, int atoms, double* x) {
  const int stride = step.layout->feature_stride;
  for (int atom = 0; atom < atoms; ++atom, x += kParts * stride) {
    for (int i = 0; i < kParts * stride; ++i) x[i] *= step.parameters->next_input_scale;
    const double* embedded = step.embedded + static_cast<std::ptrdiff_t>(step.species[first + atom]) * stride;
    for (int i = 0; i < stride; ++i) x[i] += step.parameters->next_embedding_scale * embedded[i];
  }
}

/// Residual MLP in place (eq. 24, 54).
inline void residual(const Layout& layout, const ResidualParameters<double>& mlp, int atoms, double* x, double* a, double* b) {
  const int stride = layout.feature_stride, count = kParts * atoms * stride, columns = padded<double>(layout.features);
  copy_rows<double>(count, x, a);
  activate(layout.activation, atoms, kParts, columns, stride, a);
  dense(mlp.dense1.forward, atoms, a, stride, b, stride);
  activate(layout.activation, atoms, kParts, columns, stride, b);
  multiply_add(mlp.dense2.forward, kParts * atoms, b, stride, x, stride);
  add_bias(mlp.dense2.forward, atoms, x, stride);
  if (mlp.dense3.forward.weight == nullptr) return;
  copy_rows<double>(count, x, a);
  activate(layout.activation, atoms, kParts, columns, stride, a);
  dense(mlp.dense3.forward, atoms, a, stride, x, stride);
}

/// out[part * stride + index] = the invariants (eq. 16) of chi, kParts rows of `chi_stride`.
inline void invariants_of(const Layout& layout, const double* chi, int chi_stride, double* out, int stride) {
  for (int index = 0; index < layout.num_degrees; ++index) {
    const int first = layout.degree_offset[index], end = first + 2 * layout.degree[index] + 1;
    for (int part = 0; part < kParts; ++part) {
      double sum = 0.0;
      for (int m = first; m < end; ++m) sum += chi[m] * chi[part * chi_stride + m];
      out[part * stride + index] = (part == kValue ? 1.0 : 2.0) * layout.invariant_norm[index] * sum;
    }
  }
}

/// Exchange block (eq. 25) in place on x and chi. `read`: what the block reads in place of x, after a norm.
inline void exchange(const LayerStep& step, int atoms, const double* read, double* x, double* chi, double* in, double* out) {
  const Layout& layout = *step.layout;
  const int stride = layout.exchange_stride, features = layout.features;
  for (int row = 0; row < kParts * atoms; ++row) {
    for (int i = 0; i < features; ++i) in[row * stride + i] = read[row * layout.feature_stride + i];
    for (int i = features; i < stride; ++i) in[row * stride + i] = 0.0;
  }
  const int chi_size = kParts * layout.chi_stride;
  for (int atom = 0; atom < atoms; ++atom)
    invariants_of(layout, chi + atom * chi_size, layout.chi_stride, in + atom * kParts * stride + features, stride);
  dense(step.parameters->exchange.forward, atoms, in, stride, out, stride);
  for (int row = 0; row < kParts * atoms; ++row)
    for (int i = 0; i < features; ++i) x[row * layout.feature_stride + i] += out[row * stride + i];
  for (int atom = 0; atom < atoms; ++atom)
    for (int index = 0; index < layout.num_degrees; ++index) {
      const double* b = out + atom * kParts * stride + features + index;
      for (int m = 0; m <= 2 * layout.degree[index]; ++m) {
        double* at = chi + atom * chi_size + layout.degree_offset[index] + m;
        for (int part = 1; part < kParts; ++part)
          at[part * layout.chi_stride] = at[part * layout.chi_stride] * (1.0 + b[0]) + at[0] * b[part * stride];
        at[0] *= 1.0 + b[0];
      }
    }
}

inline std::size_t node_scratch(const Layout& layout) {
  return static_cast<std::size_t>(kParts * kBlock) * static_cast<std::size_t>(3 * layout.feature_stride + 2 * layout.exchange_stride);
}

inline void node_steps(const LayerStep& step, int begin, int end, double* scratch) {
  const Layout& layout = *step.layout;
  const LayerParameters<double>& parameters = *step.parameters;
  const int size = kParts * kBlock * layout.feature_stride;
  double *a = scratch, *b = a + size, *c = b + size, *in = c + size, *out = in + kParts * kBlock * layout.exchange_stride;
  for (int first = begin; first < end; first += kBlock) {
    const int atoms = end - first < kBlock ? end - first : kBlock;
    double* x = step.x + static_cast<std::ptrdiff_t>(first) * kParts * layout.feature_stride;
    double* chi = step.chi_next + static_cast<std::ptrdiff_t>(first) * kParts * layout.chi_stride;
    if (layout.norm_attended) norm(layout, parameters.norm1, atoms, x, x);
    if (layout.residual_mlp_1) residual(layout, parameters.mlp1, atoms, x, a, b);
    if (layout.norm_exchange) norm(layout, parameters.norm2, atoms, x, c);
    exchange(step, atoms, layout.norm_exchange ? c : x, x, chi, in, out);
    if (layout.residual_mlp_2) residual(layout, parameters.mlp2, atoms, x, a, b);
    if (layout.norm_output) norm(layout, parameters.norm2, atoms, x, x);
    if (parameters.final_norm.scale != nullptr) norm(layout, parameters.final_norm, atoms, x, x);
    if (step.embedded != nullptr) mix_embedded(step, first, atoms, x);
  }
}

/// Queries, keys and values of slots (eq. 18), heads normalised where the model has that (eq. 93).
inline void project_slots(const LayerStep& step, int begin, int end, double*) {
  const Layout& layout = *step.layout;
  for (int first = begin; first < end; first += kBlock) {
    const int atoms = end - first < kBlock ? end - first : kBlock;
    const std::ptrdiff_t rows = static_cast<std::ptrdiff_t>(first) * kParts;
    const double* x = step.x + rows * layout.feature_stride;
    if (layout.norm_input) {
      double* to = step.normalised + rows * layout.feature_stride;
      norm(layout, step.parameters->norm1, atoms, x, to);
      x = to;
    }
    double* out = step.projection + rows * layout.projection_stride;
    project_linear<double>(layout, *step.parameters, x, kParts * atoms, out);
    const int stride = layout.projection_stride;
    activate(layout.query_key_activation, atoms, kParts, 2 * layout.features_padded, stride, out + layout.query_offset);
    activate(layout.query_key_activation, atoms, kParts, 2 * layout.coordinates_padded, stride, out + layout.coordinate_query_offset);
    if (layout.normalize_query_key) normalise_queries_and_keys(layout, atoms, out);
  }
}

/// Hidden layer of a readout; returns the widths of what stands in `in` then.
inline void head(const HeadParameters<double>& parameters, Activation type, int atoms, const double* x, int stride, double* hidden,
                 double* out) {
  if (!parameters.hidden) {
    dense(parameters.dense2.forward, atoms, x, stride, out, parameters.dense2.forward.columns);
    return;
  }
  const int width = parameters.dense1.forward.columns;
  dense(parameters.dense1.forward, atoms, x, stride, hidden, width);
  activate(type, atoms, kParts, width, width, hidden);
  dense(parameters.dense2.forward, atoms, hidden, width, out, parameters.dense2.forward.columns);
}

inline std::size_t readout_scratch(const Layout& layout) {
  auto larger = [](int a, int b) { return a > b ? a : b; };
  const int hidden = larger(layout.energy_hidden, larger(layout.charge_hidden, larger(layout.hirshfeld_hidden, layout.c6_hidden)));
  return static_cast<std::size_t>(kParts * kBlock) * static_cast<std::size_t>(hidden + larger(layout.hirshfeld_size, kPanel<double>));
}

/// Energy, raw charge, Hirshfeld ratio and ratio of C6 (eq. 26, 27, 30, 95).
inline void readout_steps(const ReadoutStep& step, int begin, int end, double* scratch) {
  const Layout& layout = *step.layout;
  const Parameters<double>& p = *step.parameters;
  for (int first = begin; first < end; first += kBlock) {
    const int atoms = end - first < kBlock ? end - first : kBlock;
    const double* x = step.x + static_cast<std::ptrdiff_t>(first) * kParts * layout.feature_stride;
    const auto read = [&](const HeadParameters<double>& parameters, Activation type) {
      double* out = scratch + kParts * kBlock * (parameters.hidden ? parameters.dense1.forward.columns : 0);
      head(parameters, type, atoms, x, layout.feature_stride, scratch, out);
      return out;
    };
    const auto scalar = [&](const HeadParameters<double>& parameters, Activation type, double* to) {
      const double* out = read(parameters, type);
      for (int row = 0; row < kParts * atoms; ++row) to[kParts * first + row] = out[row * parameters.dense2.forward.columns];
    };
    scalar(p.energy, layout.energy_activation, step.energy);
    if (step.charge != nullptr) scalar(p.charge, Activation::silu, step.charge);
    if (step.c6 != nullptr) scalar(p.c6, Activation::silu, step.c6);
    if (step.hirshfeld == nullptr) continue;
    const double* out = read(p.hirshfeld, Activation::silu);
    for (int row = 0; row < kParts * atoms; ++row) {
      const double* query = p.hirshfeld_query + static_cast<std::ptrdiff_t>(step.species[first + row / kParts]) * layout.hirshfeld_size;
      double sum = 0.0;
      for (int k = 0; k < layout.hirshfeld_size; ++k) sum += out[row * p.hirshfeld.dense2.forward.columns + k] * query[k];
      step.hirshfeld[kParts * first + row] = sum;
    }
  }
}

}  // namespace SO3MD_CPU_NAMESPACE::heat_flux
