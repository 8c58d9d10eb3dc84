// What atoms got from pairs beyond the cutoff, summed up by place in double precision, and where it goes.
#pragma once

#include <cstddef>
#include <vector>

#include "common/index.h"
#include "paper2022/kernels.h"

namespace so3md::paper2022 {

template <class Real>
void add_rounded(const double* from, int count, Real* to) {
  for (int k = 0; k < count; ++k) to[k] = static_cast<Real>(static_cast<double>(to[k]) + from[k]);
}

/// Harmonics of an owned atom.
template <class Real>
void add_forward_sums(const LayerStep<Real>& step, const NonlocalSums& at, const double* sums, int owned) {
  add_rounded(sums + at.chi, step.layout->num_coordinates, step.sum_chi + std::ptrdiff_t{owned} * step.layout->chi_stride);
}

/// Gradients of an owned atom.
template <class Real>
void add_adjoint_sums(const LayerStep<Real>& step, const NonlocalSums& at, const double* sums, int owned) {
  const Layout& layout = *step.layout;
  const auto row = std::ptrdiff_t{owned};
  const double* pairs = sums + at.pairs;
  add_rounded(sums + at.query_key, at.chi - at.query_key,
              step.gradient_projection + row * layout.projection_stride + layout.coordinate_query_offset);
  add_rounded(sums + at.chi, layout.num_coordinates, step.gradient_chi + row * layout.chi_stride);
  add_rounded(pairs + PairSums::force, 3, step.forces + 3 * row);
  add_rounded(pairs + PairSums::virial, 9, step.virial + 9 * row);
  step.gradient_softmax[row] += pairs[PairSums::softmax];
}

}  // namespace so3md::paper2022
