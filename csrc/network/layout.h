// How features lie in memory.
#pragma once

#include "model/hyperparameters.h"

namespace so3md {

inline constexpr int kMaxDegree = 8;
inline constexpr int kMaxDegrees = kMaxDegree + 1;
inline constexpr int kMostRadial = 1024;      ///< radial basis functions
inline constexpr int kMostPairWeights = 128;  ///< heads and degrees together, padded

/// Most atoms that a node kernel takes at once.
inline constexpr int kNodeBlock = 16;

/// Matrices are packed, and rows padded, in panels of 64 bytes: one cache line, a whole number of registers on every processor.
template <class Real>
inline constexpr int kPanel = 64 / static_cast<int>(sizeof(Real));

template <class Real>
constexpr int padded(int count) {
  return (count + kPanel<Real> - 1) / kPanel<Real> * kPanel<Real>;
}

/// What the node steps of a layer keep for their adjoint, for a block of kNodeBlock atoms: where each part begins, in numbers. Parts that
/// the model's options do not need are empty.
struct NodeRecordLayout {
  int output = 0;                                      ///< rows of features: what the last norm acts on
  int exchange_input = 0;                              ///< what a norm before the exchange block acts on
  int mlp1_inner = 0, mlp1_outer = 0;                  ///< slopes of activations; that of the input is cheap to compute again
  int mlp2_input = 0, mlp2_inner = 0, mlp2_outer = 0;  ///< likewise
  int scale = 0;                                       ///< rows of degrees: b of the exchange block
  int size = 0;
};

/// Options of a network, whatever its features look like in memory.
struct NetworkOptions {
  Activation activation = Activation::silu;
  Activation query_key_activation = Activation::identity;
  double features_normalizer = 1.0;     ///< factor of alpha
  double coordinates_normalizer = 1.0;  ///< factor of beta
  double initial_scale = 0.0;           ///< chi before the first layer is this times the sum of phi Y over neighbours

  // Layer norms: of what is projected, after the attention, before the exchange block, of what a layer puts out.
  bool norm_input = false, norm_attended = false, norm_exchange = false, norm_output = false;
  double layer_norm_epsilon = 0.0;
  bool rms_norm = false;             ///< these take no mean away
  bool normalize_query_key = false;  ///< each head of queries and keys, over the root of the mean of its squares
  bool residual_mlp_1 = false, residual_mlp_2 = false;
};

/// Sizes, strides (in numbers, not bytes) and options of a network, for the precision that pads it.
///
/// Invariant features x are rows of F numbers. Queries, keys, values and attention sums are rows of heads: every head is
/// padded to whole panels (the "head layout"), with zeros in weights and rows, so that kernels never meet a partial register.
struct Layout : NetworkOptions {
  int features = 0;        ///< F
  int feature_stride = 0;  ///< of x and everything of its width
  int heads = 0;
  int head_width = 0;
  int head_padded = 0;
  int features_padded = 0;  ///< heads * head_padded

  int num_degrees = 0;  ///< heads of the coordinate attention
  int coordinate_head_width = 0;
  int coordinate_head_padded = 0;
  int coordinates_padded = 0;  ///< num_degrees * coordinate_head_padded

  int degree[kMaxDegrees] = {};
  int degree_offset[kMaxDegrees] = {};      ///< first coordinate of a degree in chi
  double invariant_norm[kMaxDegrees] = {};  ///< (2l+1)^(-1/2), of the squared norm of a degree in its invariant
  int num_coordinates = 0;                  ///< M
  int chi_stride = 0;

  int query_offset = 0, key_offset = 0, value_offset = 0, coordinate_query_offset = 0, coordinate_key_offset = 0;
  int factor_offset = 0;      ///< with normalize_query_key: of the numbers that heads of q, k, q', k' were multiplied with
  int projection_stride = 0;  ///< of a row [q, k, v, q', k', factors]

  int spherical_hidden = 0;  ///< hidden width of one spherical filter, padded; the two filters lie side by side
  int radial_hidden = 0;     ///< hidden width of one radial filter, padded
  int num_radial = 0;        ///< K
  int radial_stride = 0;     ///< K, padded
  int kept_size = 0;         ///< filters of a pair, and the slopes of the hidden values
  int exchange_stride = 0;   ///< F + number of degrees, padded

  int energy_hidden = 0, charge_hidden = 0, hirshfeld_hidden = 0, hirshfeld_size = 0, c6_hidden = 0;  ///< padded

  Activation energy_activation = Activation::silu;
  NodeRecordLayout record;
};

template <class Real>
Layout make_layout(const Hyperparameters& hyper);

}  // namespace so3md
