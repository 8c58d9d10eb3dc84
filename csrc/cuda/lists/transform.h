// Vectors and matrices in kernels.
#pragma once

#include "cuda/platform.h"

namespace so3md::cuda {

/// v . m, of three numbers and a matrix of three rows.
__device__ inline void transform(const double* v, const double* m, double* out) {
  for (int c = 0; c < 3; ++c) out[c] = v[0] * m[c] + v[1] * m[3 + c] + v[2] * m[6 + c];
}

}  // namespace so3md::cuda
