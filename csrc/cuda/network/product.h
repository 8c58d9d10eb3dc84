// Products of rows with the matrices of the network, tiled in shared memory, with what stands before and behind them.
#pragma once

#include "cuda/network/weights.h"

namespace so3md::cuda {

/// out = residual + slope(slope_of) * act_out(bias + sum over parts of act_in(a) W), for every row and every head.
///
/// An ordinary product has one part, one head and one group. The maps of heads have several: group g and head h read columns
/// g * a_group + h * a_head of `a` and matrix g * heads + h, and write columns g * out_group + h * out_head; what the parts read and the
/// matrices of the parts lie a_part columns and weight_part numbers apart.
template <class Real>
struct Product {
  const Real* a = nullptr;
  int a_stride = 0;
  DeviceMatrix<Real> matrix;
  Real* out = nullptr;
  int out_stride = 0;
  std::int64_t rows = 0;

  Activation in_activation = Activation::identity, out_activation = Activation::identity;
  const Real* residual = nullptr;  ///< rows like those of `out`; may be `out` itself; null: zero
  int residual_stride = 0;
  const Real* slope_of = nullptr;  ///< rows like those of `out`; null: one
  int slope_stride = 0;
  Activation slope_activation = Activation::identity;

  int parts = 1, heads = 1, groups = 1;
  int a_part = 0, a_head = 0, a_group = 0, out_head = 0, out_group = 0;
  std::int64_t weight_part = 0, weight_head = 0;
};

inline constexpr int kProductRows = 64, kProductColumns = 32, kProductDepth = 16;
inline constexpr int kProductThreads = kProductRows * kProductColumns / (kQuad * kQuad);

/// A piece of both factors, [depth][row] and [depth][column]; columns of padding keep different depths on different banks.
template <class Real>
struct ProductTiles {
  alignas(16) Real a[kProductDepth][kProductRows + kQuad];
  alignas(16) Real weight[kProductDepth][kProductColumns + kQuad];
};

/// Depths from `first` on of both factors; what is outside is zero.
template <class Real>
__device__ __forceinline__ void load_product_tiles(const Product<Real>& p, const Real* a, const Real* weight, int first,
                                                   std::int64_t first_row, int first_column, ProductTiles<Real>& tiles) {
  const int thread = static_cast<int>(threadIdx.x);
  for (int at = thread; at < kProductRows * kProductDepth; at += kProductThreads) {
    const int row = at / kProductDepth, k = at % kProductDepth;
    const bool inside = first_row + row < p.rows && first + k < p.matrix.depth;
    const Real value = inside ? a[(first_row + row) * p.a_stride + first + k] : Real(0);
    tiles.a[k][row] = p.in_activation == Activation::identity ? value : activate(p.in_activation, value);
  }
  for (int at = thread; at < kProductColumns * kProductDepth; at += kProductThreads) {
    const int k = at / kProductColumns, column = at % kProductColumns;
    const bool inside = first_column + column < p.matrix.columns && first + k < p.matrix.depth;
    tiles.weight[k][column] = inside ? weight[static_cast<std::int64_t>(first + k) * p.matrix.stride + first_column + column] : Real(0);
  }
}

/// One number of the result.
template <class Real>
__device__ __forceinline__ void store_product(const Product<Real>& p, std::int64_t row, int column, int place, Real sum) {
  if (row >= p.rows || column >= p.matrix.columns) return;
  if (p.matrix.bias != nullptr) sum += p.matrix.bias[column];
  if (p.out_activation != Activation::identity) sum = activate(p.out_activation, sum);
  if (p.slope_of != nullptr) sum *= activation_slope(p.slope_activation, p.slope_of[row * p.slope_stride + place]);
  if (p.residual != nullptr) sum += p.residual[row * p.residual_stride + place];
  p.out[row * p.out_stride + place] = sum;
}

/// A block does kProductRows rows and kProductColumns columns of one head; each thread four rows and four columns.
template <class Real>
__global__ void __launch_bounds__(kProductThreads) multiply(Product<Real> p) {
  __shared__ ProductTiles<Real> tiles;
  const int head = static_cast<int>(blockIdx.z) % p.heads, group = static_cast<int>(blockIdx.z) / p.heads;
  const std::int64_t first_row = static_cast<std::int64_t>(blockIdx.x) * kProductRows;
  const int first_column = static_cast<int>(blockIdx.y) * kProductColumns;
  const int thread = static_cast<int>(threadIdx.x);
  const int row = thread / (kProductColumns / kQuad) * kQuad, column = thread % (kProductColumns / kQuad) * kQuad;
  Real sums[kQuad][kQuad] = {};
  for (int part = 0; part < p.parts; ++part) {
    const Real* a = p.a + group * p.a_group + head * p.a_head + part * p.a_part;
    const Real* weight = p.matrix.weight + blockIdx.z * p.weight_head + part * p.weight_part;
    for (int first = 0; first < p.matrix.depth; first += kProductDepth) {
      load_product_tiles(p, a, weight, first, first_row, first_column, tiles);
      __syncthreads();
#pragma unroll
      for (int k = 0; k < kProductDepth; ++k) {
        const Quad<Real> left = load_quad(&tiles.a[k][row]), right = load_quad(&tiles.weight[k][column]);
#pragma unroll
        for (int r = 0; r < kQuad; ++r)
#pragma unroll
          for (int c = 0; c < kQuad; ++c) sums[r][c] += left.at[r] * right.at[c];
      }
      __syncthreads();
    }
  }
  const int offset = group * p.out_group + head * p.out_head;
#pragma unroll
  for (int r = 0; r < kQuad; ++r)
#pragma unroll
    for (int c = 0; c < kQuad; ++c)
      store_product(p, first_row + row + r, first_column + column + c, offset + first_column + column + c, sums[r][c]);
}

template <class Real>
void run_product(const Stream& stream, const Product<Real>& product) {
  const dim3 grid(count_blocks(product.rows, kProductRows), count_blocks(product.matrix.columns, kProductColumns),
                  static_cast<unsigned>(product.heads * product.groups));
  launch(stream, multiply<Real>, grid, dim3(kProductThreads), 0, product);
}

}  // namespace so3md::cuda
