// Readouts: atomic energy, raw partial charge and Hirshfeld ratio from the last features (eq. 26, 27, 30 of docs/theory.md).
#pragma once

#include "cuda/network/row_kernels.h"

namespace so3md::cuda {

/// What a head puts out becomes one number per atom: the first output, or with a query the product with that of the atom's species.
template <class Real>
struct ReadoutRows {
  std::int64_t rows = 0;
  int size = 0;  ///< outputs of the head
  int stride = 0;
  const int* species = nullptr;
  const Real* query = nullptr;  ///< [elements][size], or null
};

template <class Real>
__global__ void reduce_outputs(ReadoutRows<Real> readout, const Real* outputs, double* values) {
  for_my_row(readout.rows, [&](std::int64_t row, int lane) {
    const Real* output = outputs + row * readout.stride;
    if (readout.query == nullptr) {
      if (lane == 0) values[row] = static_cast<double>(output[0]);
      return;
    }
    const Real* query = readout.query + static_cast<std::int64_t>(readout.species[row]) * readout.size;
    Real sum = Real(0);
    for (int k = lane; k < readout.size; k += kWarp) sum += output[k] * query[k];
    sum = sum_lanes(sum);
    if (lane == 0) values[row] = static_cast<double>(sum);
  });
}

/// The gradient of the outputs from that of the number.
template <class Real>
__global__ void spread_gradients(ReadoutRows<Real> readout, const double* gradients, Real* outputs) {
  for_my_row(readout.rows, [&](std::int64_t row, int lane) {
    const Real gradient = static_cast<Real>(gradients[row]);
    for (int k = lane; k < readout.size; k += kWarp) {
      const Real factor = readout.query == nullptr ? (k == 0 ? Real(1) : Real(0))
                                                   : readout.query[static_cast<std::int64_t>(readout.species[row]) * readout.size + k];
      outputs[row * readout.stride + k] = gradient * factor;
    }
  });
}

}  // namespace so3md::cuda
