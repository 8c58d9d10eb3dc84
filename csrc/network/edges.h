// The short-range edges of one evaluation: geometry only, a few numbers each.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <utility>
#include <vector>

#include "common/discard.h"
#include "common/errors.h"
#include "common/thread_pool.h"
#include "geometry/domain.h"
#include "model/radial.h"
#include "network/kernels.h"
#include "network/pair_blocks.h"

namespace so3md {

/// Atoms closer than this (A) are taken for a mistake: the closest nuclei in any sensible input are a hundred times farther apart.
inline constexpr double kSmallestDistance = 1e-3;

template <class Real>
class Edges {
 public:
  /// Keeps the listed neighbours within `cutoff`. For each edge calls visit(i, slot of j, d, r, phi, dphi/dr) in double, in the thread that
  /// works on atom i. Throws OverlappingAtoms.
  template <class Visit>
  void build(const Domain& domain, double cutoff, const Cutoff& cutoff_function, ThreadPool& pool, const Visit& visit) {
    pair_blocks_.update(domain);
    place(domain, cutoff, pool);
    pool.parallel_for(domain.n_owned, kAtomsPerTask, [&](int begin, int end, int) {
      for (int i = begin; i < end; ++i) build_atom(domain, i, cutoff, cutoff_function, visit);
    });
    number_pairs();
  }

  std::size_t num_pairs() const { return static_cast<std::size_t>(num_pairs_); }  ///< edges that are evaluated where they stand
  const PairBlocks& pair_blocks() const { return pair_blocks_; }

  EdgeView<Real> view() const {
    EdgeView<Real> out;
    out.first = first_.data();
    out.count = count_.data();
    out.first_pair = first_pair_.data();
    out.slot = slot_.data();
    out.row = row_.data();
    out.ux = ux_.data();
    out.uy = uy_.data();
    out.uz = uz_.data();
    out.r = r_.data();
    out.cutoff = cutoff_.data();
    out.cutoff_derivative = cutoff_derivative_.data();
    return out;
  }

 private:
  static constexpr int kAtomsPerTask = 16;

  // Room for the edges alone, without that for listed neighbours beyond the cutoff, which may be half of the list.
  void place(const Domain& domain, double cutoff, ThreadPool& pool) {
    const auto atoms = static_cast<std::size_t>(domain.n_owned);
    count_.resize(atoms);
    pool.parallel_for(domain.n_owned, kAtomsPerTask, [&](int begin, int end, int) {
      for (int i = begin; i < end; ++i) count_[static_cast<std::size_t>(i)] = most_edges(domain, i, cutoff);
    });
    first_.resize(atoms);
    first_pair_.resize(atoms);
    std::int64_t next = 0;
    for (std::size_t i = 0; i < atoms; ++i) {
      first_[i] = next;
      next += count_[i];
    }
    const auto capacity = static_cast<std::size_t>(next);
    for (auto* values : {&slot_, &row_}) resize_discarding(*values, capacity);
    resize_discarding(r_, capacity);
    for (auto* values : {&ux_, &uy_, &uz_, &cutoff_, &cutoff_derivative_}) resize_discarding(*values, capacity);
  }

  // An upper bound, which a compiler that contracts sums of products in one place and not in another cannot break.
  static int most_edges(const Domain& domain, int i, double cutoff) {
    const double* center = domain.positions + 3 * static_cast<std::ptrdiff_t>(i);
    const double bound = cutoff * cutoff * (1.0 + 1e-12);
    int count = 0;
    for (std::int64_t entry = domain.short_offsets[i]; entry < domain.short_offsets[i + 1]; ++entry) {
      const double* other = domain.positions + 3 * static_cast<std::ptrdiff_t>(domain.short_sites[entry]);
      const double d[3] = {other[0] - center[0], other[1] - center[1], other[2] - center[2]};
      count += d[0] * d[0] + d[1] * d[1] + d[2] * d[2] < bound ? 1 : 0;
    }
    return count;
  }

  template <class Visit>
  void build_atom(const Domain& domain, int i, double cutoff, const Cutoff& cutoff_function, const Visit& visit) {
    const double* center = domain.positions + 3 * static_cast<std::ptrdiff_t>(i);
    auto at = static_cast<std::size_t>(first_[static_cast<std::size_t>(i)]);
    const auto start = at;
    for (std::int64_t entry = domain.short_offsets[i]; entry < domain.short_offsets[i + 1]; ++entry) {
      const int site = domain.short_sites[entry];
      const double* other = domain.positions + 3 * static_cast<std::ptrdiff_t>(site);
      const double d[3] = {other[0] - center[0], other[1] - center[1], other[2] - center[2]};
      const double squared = d[0] * d[0] + d[1] * d[1] + d[2] * d[2];
      if (squared >= cutoff * cutoff) continue;
      const double r = std::sqrt(squared);
      if (r < kSmallestDistance) throw OverlappingAtoms(i, domain.slot[site], r);
      double derivative;
      const double phi = cutoff_function(r, &derivative);
      slot_[at] = domain.slot[site];
      row_[at] = pair_blocks_.rows()[static_cast<std::size_t>(entry)];
      ux_[at] = static_cast<Real>(d[0] / r);
      uy_[at] = static_cast<Real>(d[1] / r);
      uz_[at] = static_cast<Real>(d[2] / r);
      r_[at] = r;
      cutoff_[at] = static_cast<Real>(phi);
      cutoff_derivative_[at] = static_cast<Real>(derivative);
      ++at;
      visit(i, domain.slot[site], d, r, phi, derivative);
    }
    count_[static_cast<std::size_t>(i)] = static_cast<int>(at - start);
    const auto row = [this](std::size_t edge) { return row_.begin() + static_cast<std::ptrdiff_t>(edge); };
    first_pair_[static_cast<std::size_t>(i)] =
        static_cast<std::int64_t>(at - start) - std::count(row(start), row(at), PairBlocks::kNotHere);
  }

  // From their numbers of pairs to the pairs before them.
  void number_pairs() {
    num_pairs_ = 0;
    for (std::int64_t& of_atom : first_pair_) num_pairs_ += std::exchange(of_atom, num_pairs_);
  }

  PairBlocks pair_blocks_;
  std::vector<std::int64_t> first_, first_pair_;
  std::int64_t num_pairs_ = 0;
  std::vector<int> count_, slot_, row_;
  std::vector<double> r_;
  std::vector<Real> ux_, uy_, uz_, cutoff_, cutoff_derivative_;
};

}  // namespace so3md
