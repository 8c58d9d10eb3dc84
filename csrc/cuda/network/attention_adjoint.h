// The adjoint of the attention (eq. 44-50 of docs/theory.md): gradients that land on an atom from its pairs, its force, its virial.
//
// With G = dE/d(x_attended), C = dE/d(chi_attended) and s = phi(r) / normaliser, a pair contributes to the energy, to first order,
//   E_ij = sum_h alpha_ij^h G_i.v_j + alpha_ji^h G_j.v_i + sum_l beta_ij^l C_i.Y_l(u) + beta_ji^l C_j.Y_l(-u)
// The filters are the same from both ends, so that centre i works out what lands on it from both terms, and needs no other atom's warp:
// what is recomputed are the edge quantities of the forward pass, nothing of the size of the edge list is kept.
#pragma once

#include "cuda/network/attention_forward.h"

namespace so3md::cuda {

/// A pair of numbers, one for each direction: of the centre's own attention, and of the neighbour's attention to the centre.
template <class Real>
struct BothWays {
  Real own, other;
};

template <class Real, int kPasses, bool kCommon>
struct AdjointTile : AttentionTile<Real, kPasses, kCommon> {
  using Base = AttentionTile<Real, kPasses, kCommon>;
  using Base::AttentionTile;
  using Base::s, Base::m, Base::lane, Base::count, Base::centre, Base::kChannels, Base::kFilterStride;

  /// Edges whose rows are on their way at the same time: two, where registers allow it.
  static constexpr int kAtOnce = kPasses * sizeof(Real) > sizeof(double) ? 1 : kTogether;

  /// Of the centre: rows, and gradients, sums over edges.
  Quad<Real> query[kPasses], key[kPasses], value[kPasses], coordinate_query[kPasses], coordinate_key[kPasses], attended[kPasses];
  Quad<Real> query_gradient[kPasses], key_gradient[kPasses], value_gradient[kPasses];
  Quad<Real> coordinate_query_gradient[kPasses], coordinate_key_gradient[kPasses];
  Real chi_gradient[kCoordinatesPerLane];  ///< of coordinates lane, lane + 32, ...
  double force = 0.0;                      ///< lanes 0-2: force; 3-11: virial

  __device__ void begin(int atom) {
    const Real* own = Base::projection(atom);
    const Real* gradient = Base::row(s.gradient_attended, atom, kChannels);
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
      const int at = Base::channel(pass);
      query[pass] = load_quad(own + at);
      key[pass] = load_quad(own + kChannels + at);
      value[pass] = load_quad(own + 2 * kChannels + at);
      coordinate_query[pass] = load_quad(own + 3 * kChannels + at);
      coordinate_key[pass] = load_quad(own + 4 * kChannels + at);
      attended[pass] = load_quad(gradient + at);
      query_gradient[pass] = key_gradient[pass] = value_gradient[pass] = Quad<Real>{};
      coordinate_query_gradient[pass] = coordinate_key_gradient[pass] = Quad<Real>{};
    }
#pragma unroll
    for (int k = 0; k < kCoordinatesPerLane; ++k) chi_gradient[k] = Real(0);
    force = 0.0;
  }

  /// C_i.Y_l(u) and C_j.Y_l(-u) of every degree (eq. 44); Y_l(-u) = (-1)^l Y_l(u).
  __device__ void coordinate_products() {
    const int e = Base::edge();
    const Real* own = Base::row(s.gradient_chi_attended, centre, s.layout.chi_stride);
    const Real* other = Base::row(s.gradient_chi_attended, m.slot[e], s.layout.chi_stride);
    const Real* y = m.harmonics + e * s.layout.chi_stride;
    for (int index = Base::quarter(); index < s.layout.num_degrees; index += kQuarters) {
      Real own_sum = Real(0), other_sum = Real(0);
      const int begin = s.layout.degree_offset[index];
      for (int c = begin; c <= begin + 2 * s.layout.degree[index]; ++c) {
        own_sum += own[c] * y[c];
        other_sum += other[c] * y[c];
      }
      m.own_product[index * kTile + e] = own_sum;
      m.other_product[index * kTile + e] = s.layout.degree[index] % 2 == 0 ? other_sum : -other_sum;
    }
    __syncwarp();
  }

  /// One head of edge e backwards from the factors p = s dE/d(alpha): the filter becomes its gradient (eq. 46), those of queries and keys
  /// of the centre are added to (eq. 45). Returns this lane's parts of both attention weights, over s, and in `radial` of dE/dr by the
  /// table.
  __device__ BothWays<Real> head_adjoint(int filter, int e, BothWays<Real> factor, const Real* other, const Quad<Real>* own_query,
                                         const Quad<Real>* own_key, Quad<Real>* own_query_gradient, Quad<Real>* own_key_gradient,
                                         Real& radial) {
    BothWays<Real> weight{Real(0), Real(0)};
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
      const int at = Base::channel(pass);
      Quad<Real> slope, gradient;
      const Quad<Real> w = Base::template filter_value<true>(filter, e, pass, slope);
      const Quad<Real> other_query = load_quad(other + at), other_key = load_quad(other + kChannels + at);
#pragma unroll
      for (int c = 0; c < kQuad; ++c) {
        const Real own_product = own_query[pass].at[c] * other_key.at[c], other_product = other_query.at[c] * own_key[pass].at[c];
        weight.own += w.at[c] * own_product;
        weight.other += w.at[c] * other_product;
        gradient.at[c] = factor.own * own_product + factor.other * other_product;
        radial += gradient.at[c] * slope.at[c];
        own_query_gradient[pass].at[c] += factor.own * w.at[c] * other_key.at[c];
        own_key_gradient[pass].at[c] += factor.other * w.at[c] * other_query.at[c];
      }
      store_quad(m.filter + e * kFilterStride + at, gradient);
    }
    return weight;
  }

  /// This lane's parts of G_i.v_j and G_j.v_i, and its channels of G_j.
  __device__ BothWays<Real> value_products(int slot, Quad<Real>* other_gradient) const {
    const Real* other_value = Base::projection(slot) + 2 * kChannels;
    const Real* other_attended = Base::row(s.gradient_attended, slot, kChannels);
    BothWays<Real> product{Real(0), Real(0)};
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
      const Quad<Real> v = load_quad(other_value + Base::channel(pass));
      other_gradient[pass] = load_quad(other_attended + Base::channel(pass));
#pragma unroll
      for (int c = 0; c < kQuad; ++c) {
        product.own += attended[pass].at[c] * v.at[c];
        product.other += other_gradient[pass].at[c] * value[pass].at[c];
      }
    }
    return product;
  }

  __device__ void feature_heads() {
    const Real norm = static_cast<Real>(s.layout.features_normalizer);
    const int lanes = Base::head_lanes();
    Base::filter_products(0);
    for (int first = 0; first < count; first += kAtOnce) {
      BothWays<Real> product[kAtOnce];
      Quad<Real> other_gradient[kAtOnce][kPasses];
#pragma unroll
      for (int k = 0; k < kAtOnce; ++k) product[k] = value_products(m.slot[first + k], other_gradient[k]);
#pragma unroll
      for (int k = 0; k < kAtOnce; ++k) {
        const int e = first + k;
        const BothWays<Real> sum = {sum_lanes<Base::kFixedLanes>(product[k].own, lanes),
                                    sum_lanes<Base::kFixedLanes>(product[k].other, lanes)};
        const Real scale = m.cutoff[e] * norm;
        Real radial = Real(0);
        const BothWays<Real> part = head_adjoint(0, e, {scale * sum.own, scale * sum.other}, Base::projection(m.slot[e]), query, key,
                                                 query_gradient, key_gradient, radial);
        const Real other_alpha = scale * sum_lanes<Base::kFixedLanes>(part.other, lanes);
#pragma unroll
        for (int pass = 0; pass < kPasses; ++pass)
#pragma unroll
          for (int c = 0; c < kQuad; ++c) value_gradient[pass].at[c] += other_alpha * other_gradient[k][pass].at[c];
        // By way of phi; every lane adds its channels' parts of alpha.
        radial += m.cutoff_derivative[e] * norm * (part.own * sum.own + part.other * sum.other);
        m.by_distance[e * (kWarp + 1) + lane] = radial;
      }
    }
    if (Base::has_networks()) networks_adjoint(0);
  }

  __device__ void coordinate_heads() {
    const Real norm = static_cast<Real>(s.layout.coordinates_normalizer);
    const int lanes = Base::degree_lanes(), index = lane / lanes;
    const bool in_degree = index < s.layout.num_degrees;
    Base::filter_products(1);
    for (int first = 0; first < count; first += kAtOnce) {
#pragma unroll
      for (int k = 0; k < kAtOnce; ++k) {
        const int e = first + k;
        const Real* other = Base::projection(m.slot[e]) + 3 * kChannels;
        BothWays<Real> product{Real(0), Real(0)};
        if (in_degree) product = {m.own_product[index * kTile + e], m.other_product[index * kTile + e]};
        const Real scale = m.cutoff[e] * norm;
        Real radial = Real(0);
        const BothWays<Real> part = head_adjoint(1, e, {scale * product.own, scale * product.other}, other, coordinate_query,
                                                 coordinate_key, coordinate_query_gradient, coordinate_key_gradient, radial);
        const BothWays<Real> beta = {sum_lanes<Base::kFixedLanes>(part.own, lanes), sum_lanes<Base::kFixedLanes>(part.other, lanes)};
        if (in_degree && lane % lanes == 0) set_beta(index, e, {scale * beta.own, scale * beta.other});
        radial += m.cutoff_derivative[e] * norm * (part.own * product.own + part.other * product.other);
        m.by_distance[e * (kWarp + 1) + lane] += radial;
      }
    }
    if (Base::has_networks()) networks_adjoint(1);
  }

  /// From the gradient of a filter, in m.filter, back through its second linear map: m.slope becomes slope times gradient of the hidden
  /// values. Lanes are (quarter of the channels, hidden values k, k + 8, ...); their sums meet in two exchanges that halve the edges.
  __device__ void networks_adjoint(int filter) {
    constexpr int kGroup = kWarp / kQuad;
    const int quarter = lane / kGroup, k = lane % kGroup;
    const Real* maps = Base::second + static_cast<std::int64_t>(filter) * s.layout.hidden_rows * kFilterStride;
    Real* slope = m.slope + filter * s.layout.hidden_rows * kTile;
    __syncwarp();
    for (int first = 0; first < s.layout.hidden; first += kWarp) {
      Real sums[kTile][kQuad] = {};
#pragma unroll 2
      for (int channel = kQuad * quarter; channel < kChannels; channel += kQuad * kQuad) {
        Quad<Real> weight[kQuad];
#pragma unroll
        for (int i = 0; i < kQuad; ++i) weight[i] = load_quad(maps + (first + k + kGroup * i) * kFilterStride + channel);
#pragma unroll
        for (int e = 0; e < kTile; ++e) {
          const Quad<Real> gradient = load_quad(m.filter + e * kFilterStride + channel);
#pragma unroll
          for (int i = 0; i < kQuad; ++i)
#pragma unroll
            for (int c = 0; c < kQuad; ++c) sums[e][i] += gradient.at[c] * weight[i].at[c];
        }
      }
      Real half[kTile / 2][kQuad];
      const bool upper = quarter / 2 == 1, odd = quarter % 2 == 1;
#pragma unroll
      for (int e = 0; e < kTile / 2; ++e)
#pragma unroll
        for (int i = 0; i < kQuad; ++i) {
          const Real given = __shfl_xor_sync(kFullWarp, upper ? sums[e][i] : sums[e + kTile / 2][i], 2 * kGroup);
          half[e][i] = (upper ? sums[e + kTile / 2][i] : sums[e][i]) + given;
        }
#pragma unroll
      for (int e = 0; e < kTile / 4; ++e)
#pragma unroll
        for (int i = 0; i < kQuad; ++i) {
          const Real given = __shfl_xor_sync(kFullWarp, odd ? half[e][i] : half[e + kTile / 4][i], kGroup);
          const Real total = (odd ? half[e + kTile / 4][i] : half[e][i]) + given;
          const int hidden = first + k + kGroup * i, edge = (upper ? kTile / 2 : 0) + (odd ? kTile / 4 : 0) + e;
          if (hidden < s.layout.hidden) slope[hidden * kTile + edge] *= total;
        }
    }
    __syncwarp();
  }

  /// After both filters: m.invariant = dE/d(invariants) (eq. 47).
  __device__ void invariants_adjoint() {
    const int hidden = s.layout.spherical_hidden, e = Base::edge();
    for (int index = Base::quarter(); index < s.layout.num_degrees; index += kQuarters) {
      Real sum = Real(0);
      for (int filter = 0; filter < 2; ++filter) {
        const Real* gradient = m.slope + filter * s.layout.hidden_rows * kTile + e;
        const Real* weight = s.filter.spherical1 + (2 * index + filter) * hidden;
        for (int k = 0; k < hidden; ++k) sum += weight[k] * gradient[k * kTile];
      }
      m.invariant[index * kTile + e] = sum;
    }
  }

  /// dE/dr of this lane's edge, the same in all its quarters.
  __device__ Real distance_gradient() const {
    const int e = Base::edge();
    Real sum = Real(0);
    for (int k = Base::quarter(); k < kWarp; k += kQuarters) sum += m.by_distance[e * (kWarp + 1) + k];
    if (s.layout.radial_hidden > 0 && Base::has_networks())
      for (int filter = 0; filter < 2; ++filter)
        for (int k = s.layout.spherical_hidden + Base::quarter(); k < s.layout.hidden; k += kQuarters)
          sum += m.slope[(filter * s.layout.hidden_rows + k) * kTile + e];
    return sum_lanes<kQuarters>(sum);
  }

  /// Keeps beta_ij and (-1)^l beta_ji.
  __device__ void set_beta(int index, int e, BothWays<Real> beta) {
    m.own_beta[index * kTile + e] = beta.own;
    m.other_beta[index * kTile + e] = s.layout.degree[index] % 2 == 0 ? beta.other : -beta.other;
  }

  /// dE/dY_l(u) = C_i beta_ij + (-1)^l C_j beta_ji (eq. 49).
  __device__ void harmonics_gradient() {
    const int e = Base::edge();
    const Real* own = Base::row(s.gradient_chi_attended, centre, s.layout.chi_stride);
    const Real* other = Base::row(s.gradient_chi_attended, m.slot[e], s.layout.chi_stride);
    for (int c = Base::quarter(); c < s.layout.num_coordinates; c += kQuarters) {
      const int index = s.layout.degree_index[c];
      m.harmonics_gradient[e * s.layout.chi_stride + c] =
          own[c] * m.own_beta[index * kTile + e] + other[c] * m.other_beta[index * kTile + e];
    }
  }

  /// dE/dd = (dE/dr) u + (dE/du) / r, with dE/du tangential (eq. 41, 50), added to force and virial of the centre (eq. 42).
  __device__ void add_force(Real along) {
    const int e = Base::edge();
    const Direction<Real> u = {m.direction[e], m.direction[kTile + e], m.direction[2 * kTile + e]};
    if (Base::quarter() == 0) {
      const Direction<Real> turn = harmonics_adjoint(s.layout, s.harmonics, u, m.harmonics_gradient + e * s.layout.chi_stride);
      const Real inverse = static_cast<Real>(1.0 / m.r[e]);
      m.displacement_gradient[e] = along * u.x + turn.x * inverse;
      m.displacement_gradient[kTile + e] = along * u.y + turn.y * inverse;
      m.displacement_gradient[2 * kTile + e] = along * u.z + turn.z * inverse;
    }
    __syncwarp();
    if (lane < 3)
      for (int k = 0; k < count; ++k) force += static_cast<double>(m.displacement_gradient[lane * kTile + k]);
    else if (lane < 12)
      for (int k = 0; k < count; ++k)
        force += 0.5 * m.r[k] * static_cast<double>(m.direction[(lane - 3) / 3 * kTile + k]) *
                 static_cast<double>(m.displacement_gradient[(lane - 3) % 3 * kTile + k]);
  }

  /// Adds dE/dchi_i = -2 (2l+1)^(-1/2) (chi_j - chi_i) dE/dm (eq. 47).
  __device__ void add_chi_gradient() {
#pragma unroll
    for (int k = 0; k < kCoordinatesPerLane; ++k) {
      const int c = k * kWarp + lane;
      if (c >= s.layout.num_coordinates) continue;
      const int index = s.layout.degree_index[c];
      const Real factor = Real(-2) * static_cast<Real>(s.layout.invariant_norm[index]);
      for (int e = 0; e < count; ++e)
        chi_gradient[k] += factor * m.invariant[index * kTile + e] * m.difference[e * s.layout.chi_stride + c];
    }
  }

  __device__ void run() {
    coordinate_products();
    feature_heads();
    coordinate_heads();
    __syncwarp();
    if (Base::has_networks()) invariants_adjoint();
    harmonics_gradient();
    const Real along = distance_gradient();
    __syncwarp();
    add_force(along);
    if (Base::has_networks()) add_chi_gradient();
  }

  /// What is left where no filter depends on chi: from dE/dr of this lane's edge, and m.own_beta and m.other_beta, to forces.
  __device__ void add_force_without_filters(Real along) {
    __syncwarp();
    harmonics_gradient();
    __syncwarp();
    add_force(along);
  }

  __device__ void store(int atom) const {
    const std::int64_t row = atom;
    if (lane < 3) s.forces[3 * row + lane] += force;
    if (lane >= 3 && lane < 12) s.virial[9 * row + lane - 3] += force;
    if (s.gradient_projection == nullptr) return;
    Real* gradient = s.gradient_projection + row * (5 * kChannels);
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
      const int at = Base::channel(pass);
      store_quad(gradient + at, query_gradient[pass]);
      store_quad(gradient + kChannels + at, key_gradient[pass]);
      store_quad(gradient + 2 * kChannels + at, value_gradient[pass]);
      store_quad(gradient + 3 * kChannels + at, coordinate_query_gradient[pass]);
      store_quad(gradient + 4 * kChannels + at, coordinate_key_gradient[pass]);
    }
  }

  __device__ void store_chi(int atom) const {
    const std::int64_t offset = static_cast<std::int64_t>(atom) * s.layout.chi_stride;
#pragma unroll
    for (int k = 0; k < kCoordinatesPerLane; ++k) {
      const int c = k * kWarp + lane;
      if (c < s.layout.num_coordinates) s.gradient_chi[offset + c] = s.gradient_chi_attended[offset + c] + chi_gradient[k];
    }
  }
};

// The compiler is told that one block to a multiprocessor is enough. Left alone it aims at more of them in `double` with four passes, takes
// registers away for that, and spills half as much again.
template <class Real, int kPasses, bool kCommon, bool kShared>
__global__ void __launch_bounds__((kShared ? kMostSharingWarps : kMostWarps) * kWarp, 1) attention_adjoint(AttentionStep<Real> s) {
  for_my_centres<Real, kShared>(s, true, [&](const TileMemory<Real>& memory, const Real* second, int centre) {
    AdjointTile<Real, kPasses, kCommon> tile(s, memory, second, static_cast<int>(threadIdx.x) % kWarp);
    tile.begin(centre);
    for_tiles<true>(tile, centre, [&] { tile.run(); });
    tile.store(centre);
    tile.store_chi(centre);
  });
}

}  // namespace so3md::cuda
