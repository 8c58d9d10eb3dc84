// Attention in the space of chi in the first layer, where queries and keys are those of the species.
#pragma once

#include <vector>

#include "paper2022/kernels.h"

namespace so3md::paper2022 {

/// Filters beyond the cutoff are linear in the hidden values h of the spherical network, so that the attention of coordinates (eq. 66 of
/// docs/theory.md), sum_c q_c w_c k_c over the channels of a degree, is a constant plus a product of h with a row that belongs to two
/// species. Nor does a gradient go on to queries and keys there: species have none.
template <class Real>
class SpeciesProducts {
 public:
  explicit SpeciesProducts(const Parameters<Real>& parameters) : parameters_(parameters) {}

  /// `features`: x of each species of the model, in rows; `present`: those that are there.
  void make(const Matrix& features, const std::vector<int>& present);

  SpeciesRows<Real> rows() const { return {rows_.data(), count_, stride()}; }

 private:
  int stride() const { return padded<Real>(parameters_.layout.num_degrees * (parameters_.layout.spherical_hidden + 1)); }
  void set_row(const Real* query, const Real* key, Real* to) const;

  const Parameters<Real>& parameters_;
  int count_ = 0;
  AlignedVector<Real> rows_;
};

}  // namespace so3md::paper2022
