// The attention of a layer: what an atom gets from its neighbours (eq. 17-22 of docs/theory.md). With s = phi(r) / normaliser,
//   alpha_ij^h = s sum_e q_ie k_je w_ije,      x_i^h   += sum_j alpha_ij^h v_j^h
//   beta_ij^l  = s sum_e q'_ie k'_je w'_ije,   chi_i,l += sum_j beta_ij^l Y_l(u_ij)
#pragma once

#include "cuda/network/attention_tile.h"

namespace so3md::cuda {

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
    for (int e = 0; e < count; ++e) {
      const Real alpha = m.cutoff[e] * norm * sum_lanes<Base::kFixedLanes>(weight(0, e, kChannels, query), Base::head_lanes());
      add_value(alpha, Base::projection(m.slot[e]) + 2 * kChannels);
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
    for (int e = 0; e < count; ++e) {
      const Real beta = m.cutoff[e] * norm * sum_lanes<Base::kFixedLanes>(weight(1, e, 4 * kChannels, coordinate_query), lanes);
      if (lane % lanes == 0 && index < s.layout.num_degrees) m.own_beta[index * kTile + e] = beta;
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

  __device__ void store(int atom) const {
    const HeadSplit& split = s.layout.feature_heads;
    const Real* x = Base::row(s.x, atom, s.layout.feature_stride);
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
      if (c < s.layout.num_coordinates) s.chi_attended[offset + c] = s.chi[offset + c] + coordinates[k];
    }
  }
};

/// Blocks of whole warps; each warp does centres_per_warp owned atoms.
template <class Real, int kPasses, bool kCommon, bool kShared>
__global__ void __launch_bounds__(kShared ? kSharingWarps * kWarp : kMostWarps * kWarp, kShared ? kSharingBlocks : 1)
    attention_forward(AttentionStep<Real> s) {
  for_my_centres<Real, kShared>(s, false, [&](const TileMemory<Real>& memory, const Real* second, int centre) {
    ForwardTile<Real, kPasses, kCommon> tile(s, memory, second, static_cast<int>(threadIdx.x) % kWarp);
    tile.begin(centre);
    for_tiles<false>(tile, centre, [&] {
      tile.feature_heads();
      tile.coordinate_heads();
    });
    tile.store(centre);
  });
}

}  // namespace so3md::cuda
