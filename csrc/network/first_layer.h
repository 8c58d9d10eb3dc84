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
  /// Makes what tables are missing for this composition; all anew where `features`, the rows of species_features, changed. They do not for
  /// systems without charge and spin, whatever their atoms, so that many of them in turn share their tables.
  void update(const Parameters<Real>& parameters, const Composition& composition, const Matrix& features);

  FirstLayer<Real> view(const int* species) const;

 private:
  void set_features(const Parameters<Real>& parameters, const Matrix& species_rows);
  void build_pair(const Parameters<Real>& parameters, const std::vector<double>& query, const std::vector<double>& key,
                  AlignedVector<Real>& rows) const;

  Composition composition_;
  std::vector<double> features_;
  int num_species_ = 0;
  int stride_ = 0;
  std::vector<std::vector<double>> queries_, keys_;  // of a species
  std::deque<AlignedVector<Real>> storage_;
  std::vector<const Real*> tables_;
  AlignedVector<Real> values_;
};

}  // namespace so3md
