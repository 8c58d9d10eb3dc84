// The cell of a molecule, for what takes cells only.
#pragma once

#include "geometry/cell.h"

namespace so3md::heat_flux {

/// Without periodic directions.
inline const Cell& no_cell() {
  static const double none[9] = {};
  static const Cell cell(none, {false, false, false});
  return cell;
}

}  // namespace so3md::heat_flux
