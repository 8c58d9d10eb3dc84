// What is done to each atom's row between the products: layer norms and the exchange block, forward and adjoint. A warp takes a row.
#pragma once

#include "cuda/network/weights.h"

namespace so3md::cuda {

inline constexpr int kRowsPerBlock = 4;

/// Calls body(row, lane) for the row of this warp; all its lanes are there or none.
template <class Body>
__device__ __forceinline__ void for_my_row(std::int64_t rows, const Body& body) {
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * kRowsPerBlock + threadIdx.x / kWarp;
  if (row < rows) body(row, static_cast<int>(threadIdx.x) % kWarp);
}

template <class... Parameters, class... Arguments>
void launch_rows(const Stream& stream, void (*kernel)(Parameters...), std::int64_t rows, Arguments&&... arguments) {
  launch(stream, kernel, dim3(count_blocks(rows, kRowsPerBlock)), dim3(kRowsPerBlock * kWarp), 0, static_cast<Arguments&&>(arguments)...);
}

/// Mean and 1 / sqrt(variance + epsilon) of a row; with `rms` the mean counts as zero (eq. 92).
template <class Real>
struct RowStatistics {
  Real mean, inverse_deviation;
  __device__ RowStatistics(const Real* x, int count, bool rms, Real epsilon, int lane) {
    mean = Real(0);
    if (!rms) {
      Real sum = Real(0);
      for (int f = lane; f < count; f += kWarp) sum += x[f];
      mean = sum_lanes(sum) / static_cast<Real>(count);
    }
    Real squares = Real(0);
    for (int f = lane; f < count; f += kWarp) squares += (x[f] - mean) * (x[f] - mean);
    inverse_deviation = Real(1) / square_root(sum_lanes(squares) / static_cast<Real>(count) + epsilon);
  }
};

template <class Real>
struct NormStep {
  int features = 0, stride = 0;
  Real epsilon = Real(0);
  bool rms = false;
  NormWeights<Real> weights;
};

/// out = (x - mean) / deviation * scale + bias (eq. 23); out may be x.
template <class Real>
__global__ void layer_norm(NormStep<Real> norm, std::int64_t rows, const Real* x, Real* out) {
  for_my_row(rows, [&](std::int64_t row, int lane) {
    const Real* from = x + row * norm.stride;
    const RowStatistics<Real> s(from, norm.features, norm.rms, norm.epsilon, lane);
    for (int f = lane; f < norm.features; f += kWarp)
      out[row * norm.stride + f] = (from[f] - s.mean) * s.inverse_deviation * norm.weights.scale[f] + norm.weights.bias[f];
  });
}

/// out = residual + dE/dx from gradient (dE/d of the normalised row): with s = scale * gradient and n the normalised row,
/// (s - mean(s) - n mean(s n)) / deviation, without mean(s) for a norm that takes no mean away. `out` may be `gradient` or `residual`;
/// these have strides of their own.
template <class Real>
__global__ void layer_norm_adjoint(NormStep<Real> norm, std::int64_t rows, const Real* x, const Real* gradient, int gradient_stride,
                                   const Real* residual, Real* out) {
  for_my_row(rows, [&](std::int64_t row, int lane) {
    const Real* input = x + row * norm.stride;
    const Real* g = gradient + row * gradient_stride;
    const RowStatistics<Real> s(input, norm.features, norm.rms, norm.epsilon, lane);
    Real sum = Real(0), product = Real(0);
    for (int f = lane; f < norm.features; f += kWarp) {
      const Real scaled = g[f] * norm.weights.scale[f];
      sum += scaled;
      product += scaled * (input[f] - s.mean) * s.inverse_deviation;
    }
    const Real mean_s = norm.rms ? Real(0) : sum_lanes(sum) / static_cast<Real>(norm.features);
    const Real mean_sn = sum_lanes(product) / static_cast<Real>(norm.features);
    for (int f = lane; f < norm.features; f += kWarp) {
      const Real n = (input[f] - s.mean) * s.inverse_deviation;
      const Real value = (g[f] * norm.weights.scale[f] - mean_s - n * mean_sn) * s.inverse_deviation;
      out[row * norm.stride + f] = residual == nullptr ? value : residual[row * norm.stride + f] + value;
    }
  });
}

/// One exchange block (eq. 25). Rows of owned atoms; rows (x, invariants) have exchange_stride.
template <class Real>
struct ExchangeStep {
  std::int64_t rows = 0;
  const Real* x = nullptr;  ///< what the block gets beside the invariants
  const Real* chi_attended = nullptr;
  Real* in = nullptr;              ///< what goes into the linear map, or the gradient of what comes out
  const Real* out = nullptr;       ///< what comes out of the linear map, or the gradient of what goes in
  const Real* residual = nullptr;  ///< features that `out` is added to
  Real* x_out = nullptr;
  Real* scale = nullptr;  ///< [rows][num_degrees] b
  Real* chi_next = nullptr;
  const Real* gradient_chi = nullptr;  ///< adjoint: of chi_next
  Real* gradient_chi_attended = nullptr;
};

template <class Real>
__global__ void exchange_input(NetworkLayout layout, ExchangeStep<Real> step) {
  for_my_row(step.rows, [&](std::int64_t row, int lane) {
    Real* in = step.in + row * layout.exchange_stride;
    const Real* chi = step.chi_attended + row * layout.chi_stride;
    for (int f = lane; f < layout.features; f += kWarp) in[f] = step.x[row * layout.feature_stride + f];
    if (lane >= layout.num_degrees) return;
    Real squares = Real(0);
    for (int m = 0; m <= 2 * layout.degree[lane]; ++m) squares += chi[layout.degree_offset[lane] + m] * chi[layout.degree_offset[lane] + m];
    in[layout.features + lane] = squares * static_cast<Real>(layout.invariant_norm[lane]);
  });
}

/// x_out = residual + a; chi_next = (1 + b_l) chi_l.
template <class Real>
__global__ void exchange_output(NetworkLayout layout, ExchangeStep<Real> step) {
  for_my_row(step.rows, [&](std::int64_t row, int lane) {
    const Real* out = step.out + row * layout.exchange_stride;
    for (int f = lane; f < layout.features; f += kWarp)
      step.x_out[row * layout.feature_stride + f] = step.residual[row * layout.feature_stride + f] + out[f];
    if (lane < layout.num_degrees) step.scale[row * layout.num_degrees + lane] = out[layout.features + lane];
    for (int c = lane; c < layout.num_coordinates; c += kWarp)
      step.chi_next[row * layout.chi_stride + c] =
          step.chi_attended[row * layout.chi_stride + c] * (Real(1) + out[layout.features + layout.degree_index[c]]);
  });
}

/// From the gradients of x_out (in `x`) and of chi_next to that of what came out of the linear map, and the part of gradient_chi_attended
/// that goes past it.
template <class Real>
__global__ void exchange_output_adjoint(NetworkLayout layout, ExchangeStep<Real> step) {
  for_my_row(step.rows, [&](std::int64_t row, int lane) {
    Real* in = step.in + row * layout.exchange_stride;
    const Real* chi = step.chi_attended + row * layout.chi_stride;
    const Real* gradient = step.gradient_chi + row * layout.chi_stride;
    for (int f = lane; f < layout.features; f += kWarp) in[f] = step.x[row * layout.feature_stride + f];
    if (lane < layout.num_degrees) {
      Real product = Real(0);
      for (int m = 0; m <= 2 * layout.degree[lane]; ++m)
        product += chi[layout.degree_offset[lane] + m] * gradient[layout.degree_offset[lane] + m];
      in[layout.features + lane] = product;
    }
    for (int c = lane; c < layout.num_coordinates; c += kWarp)
      step.gradient_chi_attended[row * layout.chi_stride + c] =
          gradient[c] * (Real(1) + step.scale[row * layout.num_degrees + layout.degree_index[c]]);
  });
}

/// gradient_chi_attended gains what came back through the invariants, and x_out becomes residual + what came back to x, where x_out is
/// given.
template <class Real>
__global__ void exchange_input_adjoint(NetworkLayout layout, ExchangeStep<Real> step) {
  for_my_row(step.rows, [&](std::int64_t row, int lane) {
    const Real* back = step.out + row * layout.exchange_stride;
    for (int c = lane; c < layout.num_coordinates; c += kWarp) {
      const int index = layout.degree_index[c];
      step.gradient_chi_attended[row * layout.chi_stride + c] += Real(2) * back[layout.features + index] *
                                                                 static_cast<Real>(layout.invariant_norm[index]) *
                                                                 step.chi_attended[row * layout.chi_stride + c];
    }
    if (step.x_out == nullptr) return;
    for (int f = lane; f < layout.features; f += kWarp)
      step.x_out[row * layout.feature_stride + f] = step.residual[row * layout.feature_stride + f] + back[f];
  });
}

/// Rows in feature order to rows in lane order, with zeros behind the last channel of a head.
template <class Real>
__global__ void to_lane_order(NetworkLayout layout, std::int64_t rows, const Real* from, Real* to) {
  for_my_row(rows, [&](std::int64_t row, int lane) {
    const HeadSplit& split = layout.feature_heads;
    for (int position = lane; position < layout.channels; position += kWarp) {
      const int head = position / split.position, d = position % split.position;
      const bool inside = head < split.heads && d < split.width;
      to[row * layout.channels + position] = inside ? from[row * layout.feature_stride + head * split.width + d] : Real(0);
    }
  });
}

/// out[row] = features of the species of the row's atom.
template <class Real>
__global__ void embed_species(NetworkLayout layout, std::int64_t rows, const int* species, const Real* table, Real* out) {
  for_my_row(rows, [&](std::int64_t row, int lane) {
    for (int f = lane; f < layout.features; f += kWarp)
      out[row * layout.feature_stride + f] = table[static_cast<std::int64_t>(species[row]) * layout.features + f];
  });
}

/// gradient *= act'(linear) for the queries and keys in rows of projections; values are left out.
template <class Real>
__global__ void query_key_adjoint(NetworkLayout layout, std::int64_t rows, const Real* linear, Real* gradient) {
  for_my_row(rows, [&](std::int64_t row, int lane) {
    for (int at = lane; at < layout.projection_stride; at += kWarp) {
      if (at / layout.channels == 2) continue;
      const std::int64_t place = row * layout.projection_stride + at;
      gradient[place] *= activation_slope(layout.query_key_activation, linear[place]);
    }
  });
}

/// Calls body(first place, width) for the head of every query and key in a row of projections.
template <class Body>
__device__ __forceinline__ void for_queries_and_keys(const NetworkLayout& layout, const Body& body) {
  for (int part = 0; part < 5; ++part) {
    if (part == 2) continue;  // values
    const HeadSplit& split = part < 2 ? layout.feature_heads : layout.degree_heads;
    for (int head = 0; head < split.heads; ++head) body(part * layout.channels + head * split.position, split.width);
  }
}

/// Queries and keys over their root mean square, head by head (eq. 93).
template <class Real>
__global__ void normalise_queries_and_keys(NetworkLayout layout, std::int64_t rows, Real* projection) {
  for_my_row(rows, [&](std::int64_t row, int lane) {
    for_queries_and_keys(layout, [&](int first, int width) {
      Real* head = projection + row * layout.projection_stride + first;
      Real squares = Real(0);
      for (int d = lane; d < width; d += kWarp) squares += head[d] * head[d];
      const Real factor =
          Real(1) / square_root(sum_lanes(squares) / static_cast<Real>(width) + static_cast<Real>(layout.layer_norm_epsilon));
      for (int d = lane; d < width; d += kWarp) head[d] *= factor;
    });
  });
}

/// Gradients of queries and keys become those before the norm: with y = r a, these are r (g - y mean(y g)); a = act(linear).
template <class Real>
__global__ void normalise_adjoint(NetworkLayout layout, std::int64_t rows, const Real* linear, Real* gradient) {
  for_my_row(rows, [&](std::int64_t row, int lane) {
    for_queries_and_keys(layout, [&](int first, int width) {
      const std::int64_t place = row * layout.projection_stride + first;
      const auto value = [&](int d) { return activate(layout.query_key_activation, linear[place + d]); };
      Real squares = Real(0), products = Real(0);
      for (int d = lane; d < width; d += kWarp) {
        squares += value(d) * value(d);
        products += value(d) * gradient[place + d];
      }
      const Real factor =
          Real(1) / square_root(sum_lanes(squares) / static_cast<Real>(width) + static_cast<Real>(layout.layer_norm_epsilon));
      const Real mean = factor * factor * sum_lanes(products) / static_cast<Real>(width);
      for (int d = lane; d < width; d += kWarp) gradient[place + d] = factor * (gradient[place + d] - mean * value(d));
    });
  });
}

/// x = input x + embedding times the features of the species of the row's atom (eq. 94); without a table x = input x.
template <class Real>
__global__ void mix_embedding(NetworkLayout layout, std::int64_t rows, const int* species, const Real* table, Real input, Real embedding,
                              Real* x) {
  for_my_row(rows, [&](std::int64_t row, int lane) {
    for (int f = lane; f < layout.features; f += kWarp) {
      const Real mixed = table == nullptr ? Real(0) : embedding * table[static_cast<std::int64_t>(species[row]) * layout.features + f];
      x[row * layout.feature_stride + f] = input * x[row * layout.feature_stride + f] + mixed;
    }
  });
}

}  // namespace so3md::cuda
