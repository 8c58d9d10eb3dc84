// How features lie in the memory of a GPU.
#pragma once

#include "cuda/network/lanes.h"
#include "network/layout.h"

namespace so3md::cuda {

inline constexpr int kMostCoordinates = kMaxDegrees * kMaxDegrees;
inline constexpr int kMostPasses = 4;

/// The heads of one attention, spread over the lanes of a warp: a head takes a power of two of lanes, and each lane holds the same number
/// of neighbouring channels. What is behind the width of a head is zero.
struct HeadSplit {
  int heads = 0;
  int width = 0;     ///< channels of a head
  int lanes = 0;     ///< of a head
  int position = 0;  ///< channels from one head to the next
};

/// Sizes, strides (in numbers) and options of a network.
///
/// Features x are rows of F numbers ("feature order"). Queries, keys, values and what is summed over edges are rows of `channels` numbers
/// ("lane order"): lane k of a warp holds 4 * passes of them from 4 * passes * k on.
struct NetworkLayout : NetworkOptions {
  int features = 0;        ///< F
  int feature_stride = 0;  ///< whole quads
  int passes = 0;          ///< 1, 2 or 4
  int channels = 0;        ///< 128 * passes
  HeadSplit feature_heads, degree_heads;

  int num_degrees = 0;
  int max_degree = 0;
  int degree[kMaxDegrees] = {};
  int degree_offset[kMaxDegrees] = {};                ///< first coordinate of a degree in chi
  int offset_of_degree[kMaxDegrees] = {};             ///< by l: of the first of that degree
  int copies_of_degree[kMaxDegrees] = {};             ///< by l: how often the model has it; copies lie behind each other
  double invariant_norm[kMaxDegrees] = {};            ///< (2l+1)^(-1/2), of the squared norm of a degree (eq. 16)
  unsigned char degree_index[kMostCoordinates] = {};  ///< of a coordinate
  int num_coordinates = 0;                            ///< M
  int chi_stride = 0;                                 ///< whole quads

  int projection_stride = 0;  ///< of a row [q, k, v, q', k'], each in lane order
  int exchange_stride = 0;    ///< of a row (x, invariants)

  int spherical_hidden = 0;  ///< hidden width of one spherical filter
  int radial_hidden = 0;     ///< of one radial filter where it is not tabulated, else 0
  int num_radial = 0;        ///< K, likewise
  int hidden = 0;            ///< spherical_hidden + radial_hidden
  int hidden_rows = 0;       ///< the same in whole warps
  int filter_stride = 0;     ///< of the matrix from hidden values to channels; not a multiple of 32, so that its columns fall on all banks
};

/// Throws ModelError, naming the option, for a model that is too wide for the kernels.
NetworkLayout make_network_layout(const Hyperparameters& hyper, const Layout& host, bool tabulated);

/// Position of channel d of a head in lane order.
__host__ __device__ inline int lane_position(const HeadSplit& split, int head, int d) { return head * split.position + d; }

}  // namespace so3md::cuda
