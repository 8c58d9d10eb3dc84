// Features before the first layer.
#pragma once

#include <vector>

#include "model/model.h"

namespace so3md {

/// What the embedding depends on besides the element of an atom.
struct Composition {
  std::vector<double> counts;           ///< atoms of each species in the whole system, over all processes
  double total_charge = 0.0;            ///< e
  double num_unpaired_electrons = 0.0;  ///< 2 S
  bool operator==(const Composition&) const = default;
};

/// x before the first layer for an atom of each species, (elements, F): the sum of the embeddings in use over the square root of their
/// number (eq. 13-15 of docs/theory.md). Positions do not enter, so one row per species says all.
Matrix species_features(const Model& model, const Composition& composition);

}  // namespace so3md
