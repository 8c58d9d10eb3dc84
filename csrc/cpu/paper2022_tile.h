// Pairs of one centre, lane by lane, and what the kernels of the architecture so3krates-2022 have in common. Equations: docs/theory.md,
// section 9. Vectors point from the neighbour to the centre (eq. 55).
#pragma once

#include "cpu/activation.h"
#include "cpu/harmonics.h"
#include "cpu/matmul.h"
#include "paper2022/kernels.h"

namespace SO3MD_CPU_NAMESPACE::paper {

template <class Real>
using Step = paper2022::LayerStep<Real>;

/// Pairs that are worked on together; a multiple of every register width.
inline constexpr int kLanes = 16;

/// One end of a pair. The pointers are to rows of this atom.
template <class Real>
struct End {
  const Real* chi = nullptr;
  const Real *query = nullptr, *key = nullptr, *value = nullptr;  ///< of the feature attention; not set beyond the cutoff
  const Real *coordinate_query = nullptr, *coordinate_key = nullptr;
  const Real* gradient_features = nullptr;  ///< the adjoint only
  const Real* gradient_chi = nullptr;       ///< the adjoint only
  double radius = 0.0;                      ///< of the ball in the space of chi
};

/// Up to kLanes pairs of one centre. Lanes behind `count` hold a harmless direction.
template <class Real>
struct PairTile {
  int count = 0;
  End<Real> end[kLanes];  ///< the neighbours
  alignas(64) Real x[kLanes];
  alignas(64) Real y[kLanes];
  alignas(64) Real z[kLanes];
  alignas(64) double r[kLanes];
  alignas(64) Real cutoff[kLanes];
  alignas(64) Real cutoff_derivative[kLanes];

  /// Adds a pair; (ux, uy, uz) from the neighbour to the centre.
  void add(const End<Real>& neighbour, Real ux, Real uy, Real uz, double distance, Real phi, Real slope) {
    end[count] = neighbour;
    x[count] = ux;
    y[count] = uy;
    z[count] = uz;
    r[count] = distance;
    cutoff[count] = phi;
    cutoff_derivative[count] = slope;
    ++count;
  }

  /// After the last pair.
  void fill_up() {
    for (int p = count; p < kLanes; ++p) {
      x[p] = y[p] = Real(0);
      z[p] = Real(1);
      r[p] = 1.0;
      cutoff[p] = cutoff_derivative[p] = Real(0);
    }
  }

  /// values[coordinate][lane].
  void spherical_harmonics(const Layout& layout, const HarmonicsTable<Real>& table, Real* values) const {
    for (int lane = 0; lane < kLanes; lane += kWidth<Real>)
      harmonics<Real>(layout, table, load<Real>(x + lane), load<Real>(y + lane), load<Real>(z + lane), values + lane, kLanes);
  }
};

/// The end of a pair at a slot of the domain.
template <class Real>
inline End<Real> end_at(const Step<Real>& step, int slot) {
  const Layout& layout = *step.layout;
  const auto row = static_cast<std::ptrdiff_t>(slot);
  const Real* projection = step.projection + row * layout.projection_stride;
  End<Real> out;
  out.chi = step.chi + row * layout.chi_stride;
  out.query = projection + layout.query_offset;
  out.key = projection + layout.key_offset;
  out.value = projection + layout.value_offset;
  out.coordinate_query = projection + layout.coordinate_query_offset;
  out.coordinate_key = projection + layout.coordinate_key_offset;
  out.gradient_features = step.gradient_attended + row * layout.features_padded;
  out.gradient_chi = step.gradient_chi_attended + row * layout.chi_stride;
  if (step.radius != nullptr) out.radius = step.radius[slot];
  return out;
}

/// Calls body(tile) for the edges of owned atom i; make_end(slot) says what is at the other end.
template <class Real, class MakeEnd, class Body>
inline void for_tiles(const EdgeView<Real>& edges, int i, const MakeEnd& make_end, const Body& body) {
  const std::int64_t last = edges.first[i] + edges.count[i];
  for (std::int64_t edge = edges.first[i]; edge < last;) {
    PairTile<Real> tile;
    for (; edge < last && tile.count < kLanes; ++edge)
      tile.add(make_end(edges.slot[edge]), -edges.ux[edge], -edges.uy[edge], -edges.uz[edge], edges.r[edge], edges.cutoff[edge],
               edges.cutoff_derivative[edge]);
    tile.fill_up();
    body(tile);
  }
}

/// Distances in the space of chi (eq. 60), of each degree (delta, [lane][stride]) and of all (total, [lane]).
template <class Real>
inline void chi_distances(const Layout& layout, const Real* chi, const PairTile<Real>& tile, int stride, Real* delta, Real* total) {
  for (int p = 0; p < tile.count; ++p) {
    const Real* other = tile.end[p].chi;
    Real sum_of_squares = Real(0);
    for (int d = 0; d < layout.num_degrees; ++d) {
      Real squares = Real(0);
      const int begin = layout.degree_offset[d], end = begin + 2 * layout.degree[d] + 1;
      for (int m = begin; m < end; ++m) squares += (chi[m] - other[m]) * (chi[m] - other[m]);
      delta[p * stride + d] = static_cast<Real>(__builtin_sqrt(static_cast<double>(squares)));
      sum_of_squares += squares;
    }
    total[p] = static_cast<Real>(__builtin_sqrt(static_cast<double>(sum_of_squares)));
  }
  for (int p = tile.count; p < kLanes; ++p) total[p] = Real(0);
}

/// gradient_chi += sum over the lanes of dE/d(delta), dE/d(total) times the derivatives of these norms, which are 0 where the norm is.
template <class Real>
inline void chi_distances_adjoint(const Layout& layout, const Real* chi, const PairTile<Real>& tile, int stride, const Real* delta,
                                  const Real* total, const Real* gradient_delta, const Real* gradient_total, Real* gradient_chi) {
  for (int p = 0; p < tile.count; ++p) {
    const Real* other = tile.end[p].chi;
    const Real common = total[p] > Real(0) ? gradient_total[p] / total[p] : Real(0);
    for (int d = 0; d < layout.num_degrees; ++d) {
      const Real norm = delta[p * stride + d];
      const Real factor = common + (norm > Real(0) ? gradient_delta[p * stride + d] / norm : Real(0));
      const int begin = layout.degree_offset[d], end = begin + 2 * layout.degree[d] + 1;
      for (int m = begin; m < end; ++m) gradient_chi[m] += factor * (chi[m] - other[m]);
    }
  }
}

/// The weight f = p6(u) = 1 - 28 u^6 + 48 u^7 - 21 u^8 of a pair where u = s / c = exp(total - radius) < 1, else 0 (eq. 64, 65).
template <class Real, int kMost = kLanes>
struct ChiWeights {
  alignas(64) Real u[kMost];
  alignas(64) Real f[kMost];

  void set(int lanes, const Real* total, const Real* radius) {
    for (int lane = 0; lane < lanes; lane += kWidth<Real>) {
      const Vec<Real> ratio = exponential<Real>(load<Real>(total + lane) - load<Real>(radius + lane));
      const Vec<Real> square = ratio * ratio;
      const Vec<Real> value = Real(1) - square * square * square * (Real(28) - ratio * (Real(48) - Real(21) * ratio));
      store<Real>(u + lane, ratio);
      store<Real>(f + lane, ratio < Real(1) ? value : Vec<Real>{});
    }
  }

  /// u df/du of a register.
  Vec<Real> slopes(int lane) const {
    const Vec<Real> ratio = load<Real>(u + lane), cube = ratio * ratio * ratio;
    return ratio < Real(1) ? Real(-168) * cube * cube * (Real(1) - ratio) * (Real(1) - ratio) : Vec<Real>{};
  }

  /// u df/du of a lane.
  Real slope(int lane) const {
    const Real ratio = u[lane];
    if (!(ratio < Real(1))) return Real(0);
    const Real cube = ratio * ratio * ratio;
    return Real(-168) * cube * cube * (Real(1) - ratio) * (Real(1) - ratio);
  }
};

/// sum_c a_c b_c c_c over whole registers.
template <class Real>
inline Real triple_product(int count, const Real* a, const Real* b, const Real* c) {
  Vec<Real> total = Vec<Real>{};
  for (int i = 0; i < count; i += kWidth<Real>) total += load<Real>(a + i) * load<Real>(b + i) * load<Real>(c + i);
  return sum<Real>(total);
}

template <class Real>
inline Real scalar_product(int count, const Real* a, const Real* b) {
  Vec<Real> total = Vec<Real>{};
  for (int i = 0; i < count; i += kWidth<Real>) total += load<Real>(a + i) * load<Real>(b + i);
  return sum<Real>(total);
}

/// to += factor * from.
template <class Real>
inline void add_scaled(int count, Real factor, const Real* from, Real* to) {
  for (int i = 0; i < count; i += kWidth<Real>) store<Real>(to + i, load<Real>(to + i) + factor * load<Real>(from + i));
}

template <class Real>
inline void clear(int count, Real* to) {
  for (int i = 0; i < count; ++i) to[i] = Real(0);
}

/// What a head of a pair gives back: with E = forth q_i w k_j + back q_j w k_i, gradients of w, q_i and k_i. gradient_w is set, the others
/// are added to.
template <class Real>
inline void pair_head_adjoint(int count, Real forth, Real back, const Real* w, const Real* q_i, const Real* k_i, const Real* q_j,
                              const Real* k_j, Real* gradient_w, Real* gradient_q, Real* gradient_k) {
  for (int c = 0; c < count; c += kWidth<Real>) {
    const Vec<Real> filter = load<Real>(w + c);
    const Vec<Real> other_key = forth * load<Real>(k_j + c), other_query = back * load<Real>(q_j + c);
    store<Real>(gradient_w + c, load<Real>(q_i + c) * other_key + load<Real>(k_i + c) * other_query);
    store<Real>(gradient_q + c, load<Real>(gradient_q + c) + filter * other_key);
    store<Real>(gradient_k + c, load<Real>(gradient_k + c) + filter * other_query);
  }
}

/// The coordinate attention of a tile (eq. 66), once its filters are known.
template <class Real>
struct CoordinateLanes {
  const Layout& layout;
  Real* harmonic;                ///< [coordinate][lane]
  Real* harmonic_gradient;       ///< [coordinate][lane]
  Real* total;                   ///< [lane] distance in the space of chi
  ChiWeights<Real> forth, back;  ///< f_ij and f_ji; not used without attention in that space
  alignas(64) Real gradient_total[kLanes];
  alignas(64) Real gradient_cutoff[kLanes];

  static std::size_t size(const Layout& layout) { return static_cast<std::size_t>((2 * layout.num_coordinates + 1) * kLanes); }

  CoordinateLanes(const Layout& used, Real* scratch) : layout(used) {
    harmonic = scratch;
    harmonic_gradient = harmonic + layout.num_coordinates * kLanes;
    total = harmonic_gradient + layout.num_coordinates * kLanes;
  }

  /// Weights f of both directions, from the balls of both ends.
  void set_weights(const End<Real>& centre, const PairTile<Real>& tile, bool both) {
    alignas(64) Real radius[kLanes];
    for (int p = 0; p < kLanes; ++p) radius[p] = static_cast<Real>(centre.radius);
    forth.set(kLanes, total, radius);
    if (!both) return;
    for (int p = 0; p < kLanes; ++p) radius[p] = static_cast<Real>(tile.end[p < tile.count ? p : 0].radius);
    back.set(kLanes, total, radius);
  }

  /// sum_chi += (phi + f) (q' w k') Y.
  void forward(const End<Real>& centre, const PairTile<Real>& tile, bool nonlocal, const Real* w, int w_stride, Real* sum_chi) const {
    const int width = layout.coordinate_head_padded;
    for (int p = 0; p < tile.count; ++p) {
      const Real weight = tile.cutoff[p] + (nonlocal ? forth.f[p] : Real(0));
      if (weight == Real(0)) continue;
      for (int d = 0; d < layout.num_degrees; ++d) {
        const Real* filter = w + p * w_stride + d * width;
        const Real beta =
            weight * triple_product<Real>(width, centre.coordinate_query + d * width, filter, tile.end[p].coordinate_key + d * width);
        const int begin = layout.degree_offset[d], end = begin + 2 * layout.degree[d] + 1;
        for (int m = begin; m < end; ++m) sum_chi[m] += beta * harmonic[m * kLanes + p];
      }
    }
  }

  /// Gradients of the filters (set), of q' and k' of the centre (added to), of the cutoff function and of the distance in the space of
  /// chi at fixed normalisers (set), and of the harmonics (set). Returns the centre's sum of u dE/du.
  Real adjoint(const End<Real>& centre, const PairTile<Real>& tile, bool nonlocal, const Real* w, Real* gradient_w, int w_stride,
               Real* gradient_query, Real* gradient_key) {
    const int width = layout.coordinate_head_padded;
    Real softmax = Real(0);
    clear<Real>(layout.num_coordinates * kLanes, harmonic_gradient);
    for (int p = 0; p < tile.count; ++p) {
      const End<Real>& other = tile.end[p];
      const Real weight_forth = tile.cutoff[p] + (nonlocal ? forth.f[p] : Real(0));
      const Real weight_back = tile.cutoff[p] + (nonlocal ? back.f[p] : Real(0));
      Real by_forth = Real(0), by_back = Real(0);  // dE/df_ij, dE/df_ji
      for (int d = 0; d < layout.num_degrees; ++d) {
        const int begin = layout.degree_offset[d], end = begin + 2 * layout.degree[d] + 1, at = d * width;
        const Real sign = layout.degree[d] % 2 == 0 ? Real(1) : Real(-1);  // of the harmonics of the opposite direction
        Real along = Real(0), against = Real(0);
        for (int m = begin; m < end; ++m) {
          along += centre.gradient_chi[m] * harmonic[m * kLanes + p];
          against += sign * other.gradient_chi[m] * harmonic[m * kLanes + p];
        }
        const Real* filter = w + p * w_stride + at;
        const Real beta_forth = triple_product<Real>(width, centre.coordinate_query + at, filter, other.coordinate_key + at);
        const Real beta_back = triple_product<Real>(width, other.coordinate_query + at, filter, centre.coordinate_key + at);
        by_forth += beta_forth * along;
        by_back += beta_back * against;
        pair_head_adjoint<Real>(width, weight_forth * along, weight_back * against, filter, centre.coordinate_query + at,
                                centre.coordinate_key + at, other.coordinate_query + at, other.coordinate_key + at,
                                gradient_w + p * w_stride + at, gradient_query + at, gradient_key + at);
        for (int m = begin; m < end; ++m)
          harmonic_gradient[m * kLanes + p] =
              weight_forth * beta_forth * centre.gradient_chi[m] + sign * weight_back * beta_back * other.gradient_chi[m];
      }
      gradient_cutoff[p] = by_forth + by_back;
      gradient_total[p] = Real(0);
      if (!nonlocal) continue;
      const Real own = by_forth * forth.slope(p);
      softmax += own;
      gradient_total[p] = own + by_back * back.slope(p);
    }
    return softmax;
  }
};

/// Adds the forces on the centre: dE/dr = along u + (dE/du) / r, with dE/du tangential, r from the neighbour to the centre.
template <class Real>
inline void add_forces(const Layout& layout, const HarmonicsTable<Real>& table, const PairTile<Real>& tile, const Real* along,
                       const Real* harmonic_gradient, double* force, double* virial) {
  alignas(64) Real gx[kLanes];
  alignas(64) Real gy[kLanes];
  alignas(64) Real gz[kLanes];
  alignas(64) Real inverse_r[kLanes];
  for (int p = 0; p < kLanes; ++p) inverse_r[p] = static_cast<Real>(1.0 / tile.r[p]);
  for (int lane = 0; lane < kLanes; lane += kWidth<Real>) {
    const Vec<Real> x = load<Real>(tile.x + lane), y = load<Real>(tile.y + lane), z = load<Real>(tile.z + lane);
    Vec<Real> tx, ty, tz;
    harmonics_adjoint<Real>(layout, table, x, y, z, harmonic_gradient + lane, kLanes, tx, ty, tz);
    const Vec<Real> inverse = load<Real>(inverse_r + lane), outward = load<Real>(along + lane);
    store<Real>(gx + lane, outward * x + tx * inverse);
    store<Real>(gy + lane, outward * y + ty * inverse);
    store<Real>(gz + lane, outward * z + tz * inverse);
  }
  for (int p = 0; p < tile.count; ++p) {
    const double gradient[3] = {static_cast<double>(gx[p]), static_cast<double>(gy[p]), static_cast<double>(gz[p])};
    const double half = 0.5 * tile.r[p];
    const double d[3] = {half * static_cast<double>(tile.x[p]), half * static_cast<double>(tile.y[p]),
                         half * static_cast<double>(tile.z[p])};
    for (int a = 0; a < 3; ++a) {
      force[a] -= gradient[a];
      for (int b = 0; b < 3; ++b) virial[3 * a + b] += d[a] * gradient[b];
    }
  }
}

}  // namespace SO3MD_CPU_NAMESPACE::paper
