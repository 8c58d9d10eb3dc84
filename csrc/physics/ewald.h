// What the kernels of the Ewald sum read and write.
//
// A wave vector is a k = a A + b B + c C of reciprocal vectors, and exp(i k.r) the product of powers of three factors. Rows of wave vectors
// share a and b: their product is formed once for many c. The conjugate serves -c, so that two wave vectors cost what one would.
#pragma once

#include <cstdint>

#include "physics/wave_vectors.h"

namespace so3md {

/// Sums over atoms for one entry: of q u x, q u y, q v x, q v y, where u + i v is the product of the first two factors and x + i y the
/// third.
inline constexpr int kWaveSums = 4;

/// What comes back to an atom without its charge: potential, forces along the reciprocal vectors, strain terms aa, bb, cc, ab, ac, bc.
inline constexpr int kWaveMoments = 10;

/// Factors for x and y of one entry: of 1 and, with forces, of c for the structure factor, and of 1, c, c^2 for its strain terms.
inline constexpr int kWaveFactors = 4, kWaveFactorsWithForces = 20;

/// Views only.
template <class Real>
struct EwaldStep {
  const WaveRow* rows = nullptr;
  int num_rows = 0;
  int reach[3] = {0, 0, 0};
  const double* turns = nullptr;    ///< [n][6] cosine and sine of 2 pi times each fractional coordinate
  const double* charges = nullptr;  ///< [n]
  bool forces = false;
  const Real* factors = nullptr;  ///< [entries][kWaveFactors or kWaveFactorsWithForces]
  double* moments = nullptr;      ///< [n][kWaveMoments], set; only the first without forces
};

/// The hot loops. Atoms are taken in blocks of kEwaldBlock; `scratch` belongs to the calling thread.
inline constexpr int kEwaldBlock = 64;

template <class Real>
struct EwaldKernels {
  std::int64_t (*scratch_size)(const EwaldStep<Real>& step) = nullptr;
  /// Adds the sums over atoms begin..end to `sums` ([entries][kWaveSums]).
  void (*waves)(const EwaldStep<Real>& step, int begin, int end, double* sums, Real* scratch) = nullptr;
  /// Sets the moments of atoms begin..end.
  void (*atoms)(const EwaldStep<Real>& step, int begin, int end, Real* scratch) = nullptr;
};

}  // namespace so3md
