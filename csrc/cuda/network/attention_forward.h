// The attention of a layer: what an atom gets from its neighbours (eq. 19-22 of docs/theory.md). With s = phi(r) / normaliser,
//   alpha_ij^h = s sum_e q_ie k_je w_ije,      x_i^h   += sum_j alpha_ij^h v_j^h
//   beta_ij^l  = s sum_e q'_ie k'_je w'_ije,   chi_i,l += sum_j beta_ij^l Y_l(u_ij)
#pragma once

#include "cuda/network/attention_tile.h"

namespace so3md::cuda {

/// Edges whose rows are on their way at the same time. Behind the last edge of a tile there are harmless ones.
inline constexpr int kTogether = 2;
static_assert(kTile % kTogether == 0);

inline constexpr int kCoordinatesPerLane = (kMostCoordinates + kWarp - 1) / kWarp;

template <class Real, int kPasses, bool kCommon>
struct ForwardTile : AttentionTile<Real, kPasses, kCommon> {
  using Base = AttentionTile<Real, kPasses, kCommon>;
  using Base::AttentionTile;
  using Base::s, Base::m, Base::lane, Base::count, Base::kChannels;

  Quad<Real> query[kPasses], coordinate_query[kPasses];
  Quad<Real> features[kPasses];           ///< sums over edges
  Real coordinates[kCoordinatesPerLane];  ///< likewise; of coordinates lane, lane + 32, ...

  __device__ void begin(int atom) {
    const Real* own = Base::projection(atom);
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
      query[pass] = load_quad(own + Base::channel(pass));
      coordinate_query[pass] = load_quad(own + 3 * kChannels + Base::channel(pass));
    }
    clear();
  }

  __device__ void clear() {
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) features[pass] = Quad<Real>{};
#pragma unroll
    for (int k = 0; k < kCoordinatesPerLane; ++k) coordinates[k] = Real(0);
  }

  /// q k w of this lane's channels; `offset` of the keys in a row of projections.
  __device__ Real weight(int filter, int e, int offset, const Quad<Real>* queries) const {
    const Real* other = Base::projection(m.slot[e]) + offset;
    Real total = Real(0);
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
      Quad<Real> unused;
      const Quad<Real> w = Base::template filter_value<false>(filter, e, pass, unused);
      const Quad<Real> key = load_quad(other + Base::channel(pass));
#pragma unroll
      for (int c = 0; c < kQuad; ++c) total += w.at[c] * (queries[pass].at[c] * key.at[c]);
    }
    return total;
  }

  __device__ void feature_heads() {
    const Real norm = static_cast<Real>(s.layout.features_normalizer);
    Base::filter_products(0);
    for (int first = 0; first < count; first += kTogether) {
      Real alpha[kTogether];
#pragma unroll
      for (int k = 0; k < kTogether; ++k) alpha[k] = weight(0, first + k, kChannels, query);
#pragma unroll
      for (int k = 0; k < kTogether; ++k) {
        alpha[k] = m.cutoff[first + k] * norm * sum_lanes<Base::kFixedLanes>(alpha[k], Base::head_lanes());
        add_value(alpha[k], Base::projection(m.slot[first + k]) + 2 * kChannels);
      }
    }
  }

  /// features += alpha v.
  __device__ void add_value(Real alpha, const Real* value) {
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
      const Quad<Real> v = load_quad(value + Base::channel(pass));
#pragma unroll
      for (int c = 0; c < kQuad; ++c) features[pass].at[c] += alpha * v.at[c];
    }
  }

  __device__ void coordinate_heads() {
    const Real norm = static_cast<Real>(s.layout.coordinates_normalizer);
    const int lanes = Base::degree_lanes(), index = lane / lanes;
    Base::filter_products(1);
    for (int first = 0; first < count; first += kTogether) {
      Real beta[kTogether];
#pragma unroll
      for (int k = 0; k < kTogether; ++k) beta[k] = weight(1, first + k, 4 * kChannels, coordinate_query);
#pragma unroll
      for (int k = 0; k < kTogether; ++k) {
        beta[k] = m.cutoff[first + k] * norm * sum_lanes<Base::kFixedLanes>(beta[k], lanes);
        if (lane % lanes == 0 && index < s.layout.num_degrees) m.own_beta[index * kTile + first + k] = beta[k];
      }
    }
    add_harmonics();
  }

  /// coordinates += beta Y, with beta in m.own_beta.
  __device__ void add_harmonics() {
    __syncwarp();
#pragma unroll
    for (int k = 0; k < kCoordinatesPerLane; ++k) {
      const int c = k * kWarp + lane;
      if (c >= s.layout.num_coordinates) continue;
      const Real* beta = m.own_beta + s.layout.degree_index[c] * kTile;
      for (int e = 0; e < count; ++e) coordinates[k] += beta[e] * m.harmonics[e * s.layout.chi_stride + c];
    }
  }

  /// `x`: the atom's row of the input.
  __device__ void store(int atom, const Real* x) const {
    const HeadSplit& split = s.layout.feature_heads;
    Real* x_out = s.x_attended + static_cast<std::int64_t>(atom) * s.layout.feature_stride;
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass)
#pragma unroll
      for (int c = 0; c < kQuad; ++c) {
        const int position = Base::channel(pass) + c, head = position / split.position, d = position - head * split.position;
        if (head >= split.heads || d >= split.width) continue;
        const int f = head * split.width + d;
        x_out[f] = x[f] + features[pass].at[c];
      }
    const std::int64_t offset = static_cast<std::int64_t>(atom) * s.layout.chi_stride;
#pragma unroll
    for (int k = 0; k < kCoordinatesPerLane; ++k) {
      const int c = k * kWarp + lane;
      if (c >= s.layout.num_coordinates) continue;
      s.chi_attended[offset + c] = s.chi == nullptr ? coordinates[k] : s.chi[offset + c] + coordinates[k];
    }
  }
};

/// Blocks of whole warps; each warp does centres_per_warp owned atoms.
template <class Real, int kPasses, bool kCommon, bool kShared>
__global__ void __launch_bounds__((kShared ? kMostSharingWarps : kMostWarps) * kWarp) attention_forward(AttentionStep<Real> s) {
  for_my_centres<Real, kShared>(s, false, [&](const TileMemory<Real>& memory, const Real* second, int centre) {
    ForwardTile<Real, kPasses, kCommon> tile(s, memory, second, static_cast<int>(threadIdx.x) % kWarp);
    tile.begin(centre);
    for_tiles<false>(tile, centre, [&] {
      tile.feature_heads();
      tile.coordinate_heads();
    });
    tile.store(centre, tile.row(s.x, centre, s.layout.feature_stride));
  });
}

}  // namespace so3md::cuda
