// How fine a mesh must be, and of which order its splines, for forces of an accuracy.
#pragma once

#include <array>

#include "geometry/cell.h"

namespace so3md {

struct MeshSize {
  std::array<int, 3> points{};  ///< along the lattice vectors; products of 2, 3 and 5, the last a multiple of 4
  int order = 0;                ///< of the splines; no direction has fewer points

  double num_points() const { return static_cast<double>(points[0]) * points[1] * points[2]; }
};

/// Orders to choose from; mesh_spline.h knows them.
inline constexpr std::array<int, 7> kSplineOrders{4, 6, 8, 10, 12, 14, 16};

/// The root mean square error of forces (eV/A) that a mesh makes in a system of atoms of charge 1 e with `density` (1/A^3), where points
/// along each lattice vector are at most `spacing` (A) apart (docs/theory.md, section 11). `skewness`: for each, its length over the height
/// of the cell along it.
double mesh_force_error(double density, double sigma, double spacing, int order, const std::array<double, 3>& skewness);

/// The coarsest mesh with splines of this order whose error is at most `accuracy` in a cell that is periodic in all directions.
MeshSize choose_mesh_size(const Cell& cell, double density, double sigma, double accuracy, int order);

}  // namespace so3md
