// Tables of a first layer whose atoms are told apart by their element alone.
#pragma once

#include <deque>
#include <vector>

#include "common/aligned.h"
#include "network/embedding.h"
#include "network/kernels.h"

namespace so3md {

/// Attention weights of the first layer as splines of the distance, for every ordered pair of species that occurs, and the value
/// vectors of the species (eq. 52 of docs/theory.md). A spline of w(r) contracted with q_a and k_b is again a spline, so nothing is
/// approximated twice.
template <class Real>
class FirstLayerTables {
 public:
  /// Renews the tables if the composition changed. `features`: rows of species_features.
  void update(const Parameters<Real>& parameters, const Composition& composition, const Matrix& features);

  FirstLayer<Real> view(const int* species) const;

 private:
  void build(const Parameters<Real>& parameters, const std::vector<double>& counts, const Matrix& features);
  void build_pair(const Parameters<Real>& parameters, const std::vector<double>& query, const std::vector<double>& key,
                  AlignedVector<Real>& rows) const;

  Composition composition_;
  int num_species_ = 0;
  int stride_ = 0;
  std::deque<AlignedVector<Real>> storage_;
  std::vector<const Real*> tables_;
  AlignedVector<Real> values_;
};

}  // namespace so3md
