// The JSON document of a model file, checked in full.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "model/hyperparameters.h"

namespace so3md {

/// The numbers of UncertaintyWeights that stand in the document.
struct UncertaintyCalibration {
  double scale = 0.0, exponent = 0.0;
};

/// What the engine uses of the document; the rest (name, provenance, licence, ...) is checked for its form only.
struct ModelDocument {
  Hyperparameters hyper;
  LongRangeSettings long_range;
  std::vector<int> elements;  ///< atomic numbers, strictly increasing
  std::optional<UncertaintyCalibration> uncertainty;
};

/// Read the document of a model file of format version 1 or 2 (docs/model_file.md).
/// Throws ModelError for another version or architecture, and naming the key for anything missing, unknown, of another kind or
/// contradictory.
ModelDocument read_document(const std::string& text);

}  // namespace so3md
