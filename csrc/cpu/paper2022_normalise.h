// Distances in the space of chi between an atom and a block of others, and the normalisers of the weights (eq. 64 of docs/theory.md), which
// need those of all pairs.
#pragma once

#include "cpu/paper2022_tile.h"

namespace SO3MD_CPU_NAMESPACE::paper {

template <class Real>
using Nonlocal = paper2022::NonlocalStep<Real>;

/// Most atoms of a block.
inline constexpr int kChiBlock = paper2022::kLargestChiBlock;

/// Atoms whose distances from one are looked at together. Within a chunk, sums are in the network's precision.
inline constexpr int kChunk = 256;

/// Registers of distances that are computed together.
inline constexpr int kTogether = 4;
static_assert(kTogether * kVectorBytes <= paper2022::kColumnPadding && kChunk % (kTogether * kWidth<float>) == 0);

/// Distances in the space of chi from one atom to `count` <= kChunk others from a place on; lanes behind them, up to a whole number of
/// registers, are set to `behind`.
template <class Real>
inline void chunk_distances(const Nonlocal<Real>& step, const Real* chi, int begin, int count, Real behind, Real* distance) {
  for (int lane = 0; lane < count; lane += kTogether * kWidth<Real>) {
    const Real* column = step.chi_columns + begin + lane;
    Vec<Real> squares[kTogether] = {};
    for (int m = 0; m < step.layer.layout->num_coordinates; ++m, column += step.column_stride) {
      const Vec<Real> own = broadcast<Real>(chi[m]);
      for (int k = 0; k < kTogether; ++k) {
        const Vec<Real> difference = load<Real>(column + k * kWidth<Real>) - own;
        squares[k] += difference * difference;
      }
    }
    for (int k = 0; k < kTogether; ++k) store<Real>(distance + lane + k * kWidth<Real>, square_root<Real>(squares[k]));
  }
  for (int lane = count; lane % kWidth<Real> != 0; ++lane) distance[lane] = behind;
}

/// Calls body(begin, count) for the chunks of the atoms of a centre's system.
template <class Body>
inline void for_chunks(const paper2022::NonlocalCentre& centre, const Body& body) {
  for (int begin = centre.first_place; begin < centre.last_place; begin += kChunk)
    body(begin, centre.last_place - begin < kChunk ? centre.last_place - begin : kChunk);
}

/// Lower bound of the distances from anywhere in a box, or from one place (low = high), to the atoms of a block.
template <class Real>
inline Real box_distance(const Nonlocal<Real>& step, const Real* low, const Real* high, int block) {
  const Layout& layout = *step.layer.layout;
  const Real* block_low = step.box_low + static_cast<std::ptrdiff_t>(block) * layout.chi_stride;
  const Real* block_high = step.box_high + static_cast<std::ptrdiff_t>(block) * layout.chi_stride;
  Vec<Real> squares = Vec<Real>{};
  for (int m = 0; m < layout.chi_stride; m += kWidth<Real>) {
    const Vec<Real> below = load<Real>(block_low + m) - load<Real>(high + m), above = load<Real>(low + m) - load<Real>(block_high + m);
    const Vec<Real> outside = maximum<Real>(maximum<Real>(below, above), Vec<Real>{});
    squares += outside * outside;
  }
  return static_cast<Real>(__builtin_sqrt(static_cast<double>(sum<Real>(squares))));
}

/// The normaliser of the weights (eq. 64): ln sum_j exp(Delta_ij) over all other atoms of the system, with the largest Delta so far taken
/// out.
template <class Real>
inline double log_sum(const Nonlocal<Real>& step, const paper2022::NonlocalCentre& centre) {
  constexpr Real kNothing = Real(-1e30);
  alignas(64) Real distance[kChunk];
  const Real* chi = step.chi + static_cast<std::ptrdiff_t>(centre.place) * step.layer.layout->chi_stride;
  double total = 0.0;
  Real largest = kNothing;
  for_chunks(centre, [&](int begin, int count) {
    chunk_distances<Real>(step, chi, begin, count, kNothing, distance);
    if (centre.place >= begin && centre.place < begin + count) distance[centre.place - begin] = kNothing;
    Vec<Real> most = broadcast<Real>(largest);
    for (int lane = 0; lane < count; lane += kWidth<Real>) most = maximum<Real>(most, load<Real>(distance + lane));
    Real chunk_largest = most[0];
    for (int lane = 1; lane < kWidth<Real>; ++lane) chunk_largest = most[lane] > chunk_largest ? most[lane] : chunk_largest;
    if (chunk_largest > largest) {
      total *= __builtin_exp(static_cast<double>(largest) - static_cast<double>(chunk_largest));
      largest = chunk_largest;
    }
    if (largest == kNothing) return;
    Vec<Real> sums = Vec<Real>{};
    for (int lane = 0; lane < count; lane += kWidth<Real>) {
      const Vec<Real> at = load<Real>(distance + lane);
      sums += at > kNothing ? exponential<Real>(at - largest) : Vec<Real>{};
    }
    total += static_cast<double>(sum<Real>(sums));
  });
  return total > 0.0 ? static_cast<double>(largest) + __builtin_log(total) : static_cast<double>(kNothing);
}

template <class Real>
void normalise_step(const Nonlocal<Real>& step, int begin, int end, Real*) {
  for (int k = begin; k < end; ++k) {
    const paper2022::NonlocalCentre& centre = step.centres[k];
    step.log_sum[centre.owned] = log_sum<Real>(step, centre);
    step.measured[centre.place] += centre.last_place - centre.first_place - 1;
  }
}

/// dE/dDelta over Delta of the pairs with a chunk of atoms, at distances that are replaced by it. By way of the normalisers, every pair
/// gives dE/dDelta = -(u_ij c_i G_i + u_ji c_j G_j) with G the sums of u dE/du; gradient_softmax of this step is c G.
template <class Real>
inline void normalisers_slope(const Nonlocal<Real>& step, int own, int begin, int count, Real* distance) {
  const Real own_radius = step.ball[own], own_gradient = step.gradient_softmax[own];
  for (int lane = 0; lane < count; lane += kWidth<Real>) {
    const Vec<Real> radius = load<Real>(step.ball + begin + lane), gradient = load<Real>(step.gradient_softmax + begin + lane);
    const Vec<Real> at = load<Real>(distance + lane);
    const Vec<Real> total = exponential<Real>(at - own_radius) * own_gradient + exponential<Real>(at - radius) * gradient;
    store<Real>(distance + lane, at > Real(0) ? -total / at : Vec<Real>{});
  }
}

template <class Real>
void normalise_adjoint_step(const Nonlocal<Real>& step, int first, int last, Real*) {
  const Layout& layout = *step.layer.layout;
  alignas(64) Real factor[kChunk];
  double sums[paper2022::kMostCoordinates];
  for (int k = first; k < last; ++k) {
    const paper2022::NonlocalCentre& centre = step.centres[k];
    const Real* chi = step.chi + static_cast<std::ptrdiff_t>(centre.place) * layout.chi_stride;
    clear<double>(layout.num_coordinates, sums);
    step.measured[centre.place] += centre.last_place - centre.first_place - 1;
    for_chunks(centre, [&](int begin, int count) {
      chunk_distances<Real>(step, chi, begin, count, Real(0), factor);
      normalisers_slope<Real>(step, centre.place, begin, count, factor);
      for (int m = 0; m < layout.num_coordinates; ++m) {
        Vec<Real> total = Vec<Real>{};
        const Real* column = step.chi_columns + m * step.column_stride + begin;
        for (int lane = 0; lane < count; lane += kWidth<Real>) total += load<Real>(factor + lane) * (chi[m] - load<Real>(column + lane));
        sums[m] += static_cast<double>(sum<Real>(total));
      }
    });
    Real* to = step.layer.gradient_chi + static_cast<std::ptrdiff_t>(centre.owned) * layout.chi_stride;
    for (int m = 0; m < layout.num_coordinates; ++m) to[m] = static_cast<Real>(static_cast<double>(to[m]) + sums[m]);
  }
}

}  // namespace SO3MD_CPU_NAMESPACE::paper
