// The wave vectors of a periodic cell that an Ewald sum needs, and how far their number bounds its error.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "geometry/cell.h"

namespace so3md {

/// Wave vectors with common multiples of the first two reciprocal vectors and the multiples -(count-1) .. count-1 of the third.
struct WaveRow {
  int a = 0, b = 0;
  int count = 0;           ///< even: kernels take two at a time
  std::int64_t first = 0;  ///< of its `count` entries
};

/// Factors of the squared structure factors of two wave vectors, +c and -c of a row (eq. 79); 0 where one does not belong to the sum.
struct WaveWeights {
  double plus = 0.0, minus = 0.0;                ///< 2 k_e/V 4 pi g(k), which also is the factor of potentials, eV/e^2
  double strain_plus = 0.0, strain_minus = 0.0;  ///< the same times 1/k^2 + s^2/4, eV A^2/e^2
};

/// One of each pair k, -k of wave vectors no longer than a bound.
struct WaveVectors {
  std::array<int, 3> reach{};  ///< largest multiples of the reciprocal vectors; that of the third padded, as rows are
  std::vector<WaveRow> rows;
  std::vector<WaveWeights> weights;  ///< by entry

  std::int64_t num_entries() const { return static_cast<std::int64_t>(weights.size()); }
};

/// Wave vectors up to `longest` (1/A) of a cell that is periodic in all directions, for charges smeared by `sigma` (A).
WaveVectors make_wave_vectors(const Cell& cell, double sigma, double longest);

/// How many entries these would have, about.
double estimate_entries(double volume, double longest);

/// What leaving out longer wave vectors costs: the root mean square error of forces (eV/A) in a system of atoms of charge 1 e with
/// `density` (1/A^3), eq. (83).
double ewald_force_error(double density, double sigma, double longest);

/// The shortest bound (1/A) whose error is at most `accuracy`.
double longest_wave_vector(double density, double sigma, double accuracy);

}  // namespace so3md
