// Which process works on which atom, where all of them know all positions.
#pragma once

#include <vector>

#include "geometry/cell.h"

namespace so3md {

/// [n] process of each atom, 0 .. num_processes - 1. Compact parts with equal numbers of atoms (to one): the system is cut across its
/// longest side, in proportion to the processes on either side, and each part again (recursive coordinate bisection: Berger and Bokhari,
/// IEEE Trans. Comput. C-36, 570 (1987)). The same positions ([n][3], A) give the same parts in every process.
std::vector<int> partition(int n, const double* positions, const Cell& cell, int num_processes);

}  // namespace so3md
