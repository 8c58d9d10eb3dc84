// A system as a host knows it, and a copy by which it is known again.
#pragma once

#include <array>
#include <vector>

#include "evaluation/engine.h"

namespace so3md {

/// A whole system in the host's order. Lengths in A, charge in e.
struct System {
  int n = 0;
  const int* numbers = nullptr;       ///< atomic numbers
  const double* positions = nullptr;  ///< [n][3]
  const double* cell = nullptr;       ///< [3][3], lattice vectors as rows
  std::array<bool, 3> periodic{};
  SystemTotals totals;
  ExternalPotential external{};  ///< at the atoms

  /// Which inverts the lattice vectors. Throws std::invalid_argument with a finished message where they are no cell.
  Cell make_cell() const { return {cell, periodic}; }
};

/// Owns what it remembers of a system, or remembers none.
class SystemCopy {
 public:
  void set(const System& system);
  void forget() { known_ = false; }

  /// Whether it is this system, to the last bit, and without an external potential.
  bool is(const System& system) const;

 private:
  bool known_ = false;
  std::vector<int> numbers_;
  std::vector<double> positions_;
  std::array<double, 9> cell_{};
  std::array<bool, 3> periodic_{};
  double charge_ = 0.0, spin_ = 0.0;
};

}  // namespace so3md
