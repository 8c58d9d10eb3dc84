// Spherical harmonics of pairs with their gradients, for training: computed in double precision, kept in that of the network.
#pragma once

#include "cpu/harmonics.h"
#include "training/kernels.h"

namespace SO3MD_CPU_NAMESPACE::training {

/// Turns columns of numbers (lanes) into rows of pairs.
template <class Real>
inline void store_rows(const double* columns, std::int64_t width, std::int64_t rows, Real* to) {
  for (std::int64_t row = 0; row < rows; ++row)
    for (std::int64_t c = 0; c < width; ++c) to[row * width + c] = static_cast<Real>(columns[c * kWidth<double> + row]);
}

template <class Real>
void pair_harmonics(const Layout& layout, const HarmonicsTable<double>& table, std::int64_t pairs, const double* displacement, Real* values,
                    Real* gradients) {
  constexpr int lanes = kWidth<double>;
  alignas(64) double columns[3 * so3md::training::kMaxCoordinates * lanes], ordered[3][lanes];
  const std::int64_t coordinates = layout.num_coordinates;
  for (std::int64_t begin = 0; begin < pairs; begin += lanes) {
    const std::int64_t rows = pairs - begin < lanes ? pairs - begin : lanes;
    for (std::int64_t lane = 0; lane < lanes; ++lane) {
      const double* const d = displacement + 3 * (begin + (lane < rows ? lane : 0));
      for (int axis = 0; axis < 3; ++axis) ordered[axis][lane] = d[axis];
    }
    const Vec<double> dx = load<double>(ordered[0]), dy = load<double>(ordered[1]), dz = load<double>(ordered[2]);
    const Vec<double> inverse = 1.0 / square_root<double>(dx * dx + dy * dy + dz * dz);
    const Vec<double> x = dx * inverse, y = dy * inverse, z = dz * inverse;
    harmonics<double>(layout, table, x, y, z, columns, lanes);
    store_rows(columns, coordinates, rows, values + begin * coordinates);
    harmonics_gradients<double>(layout, table, x, y, z, columns, lanes);
    for (std::int64_t k = 0; k < 3 * coordinates; ++k) store<double>(columns + k * lanes, load<double>(columns + k * lanes) * inverse);
    store_rows(columns, 3 * coordinates, rows, gradients + 3 * begin * coordinates);
  }
}

}  // namespace SO3MD_CPU_NAMESPACE::training
