// Products of matrices of any number of columns, which are packed for each step of a training.
#pragma once

#include "cpu/matmul.h"
#include "cpu/training_channels.h"
#include "training/kernels.h"

namespace SO3MD_CPU_NAMESPACE::training {

using so3md::training::Matrix;

/// Rows that go through several products together, so that what lies between these stays near.
inline constexpr int kBlockRows = 48;

template <class Real>
inline std::int64_t padded_columns(std::int64_t columns) {
  return (columns + kPanel<Real> - 1) / kPanel<Real> * kPanel<Real>;
}

/// See training::KernelTable.
template <class Real>
inline void pack(std::int64_t depth, std::int64_t columns, const Real* from, std::int64_t row_stride, std::int64_t column_stride,
                 Real* packed) {
  for (std::int64_t start = 0; start < columns; start += kPanel<Real>, packed += depth * kPanel<Real>) {
    const std::int64_t width = columns - start < kPanel<Real> ? columns - start : kPanel<Real>;
    if (width < kPanel<Real>)
      for (std::int64_t k = 0; k < depth * kPanel<Real>; ++k) packed[k] = 0;
    const Real* const panel = from + start * column_stride;
    if (row_stride == 1) {  // reading along rows is what memory likes
      for (std::int64_t c = 0; c < width; ++c)
        for (std::int64_t k = 0; k < depth; ++k) packed[k * kPanel<Real> + c] = panel[c * column_stride + k];
    } else {
      for (std::int64_t k = 0; k < depth; ++k)
        for (std::int64_t c = 0; c < width; ++c) packed[k * kPanel<Real> + c] = panel[k * row_stride + c * column_stride];
    }
  }
}

/// c (rows, columns) = a (rows, depth) W, plus the bias or what stands in c; W packed. Strides of rows in numbers.
template <class Real, Start start>
inline void product(std::int64_t rows, const Real* a, std::int64_t lda, std::int64_t depth, const Real* packed, const Real* bias,
                    std::int64_t columns, Real* c, std::int64_t ldc) {
  const int whole = static_cast<int>(columns / kPanel<Real> * kPanel<Real>), d = static_cast<int>(depth);
  const int a_stride = static_cast<int>(lda), c_stride = static_cast<int>(ldc);
  for (std::int64_t begin = 0; begin < rows; begin += kBlockRows, a += kBlockRows * lda, c += kBlockRows * ldc) {
    const int count = static_cast<int>(rows - begin < kBlockRows ? rows - begin : kBlockRows);
    if (whole > 0) matmul<Real, start>(count, a, a_stride, packed, bias, d, whole, c, c_stride);
    if (whole == columns) continue;
    Real rest[kBlockRows * kPanel<Real>];
    matmul<Real, Start::zero>(count, a, a_stride, packed + whole * depth, nullptr, d, kPanel<Real>, rest, kPanel<Real>);
    for (int row = 0; row < count; ++row)
      for (std::int64_t k = whole; k < columns; ++k) {
        const Real value = rest[row * kPanel<Real> + k - whole];
        Real& to = c[row * ldc + k];
        if constexpr (start == Start::accumulate)
          to += value;
        else
          to = value + (start == Start::bias ? bias[k] : Real(0));
      }
  }
}

/// Rows x one panel of c += a^T b.
template <class Real, int Rows>
inline void add_transposed_tile(int depth, const Real* a, std::int64_t lda, const Real* panel, Real* c, std::int64_t ldc) {
  constexpr int vectors = kPanel<Real> / kWidth<Real>;
  Vec<Real> sums[Rows][vectors];
  for (int row = 0; row < Rows; ++row)
    for (int v = 0; v < vectors; ++v) sums[row][v] = load<Real>(c + row * ldc + v * kWidth<Real>);
  for (int k = 0; k < depth; ++k) {
    Vec<Real> b[vectors];
    for (int v = 0; v < vectors; ++v) b[v] = load<Real>(panel + k * kPanel<Real> + v * kWidth<Real>);
    for (int row = 0; row < Rows; ++row)
      for (int v = 0; v < vectors; ++v) sums[row][v] += a[k * lda + row] * b[v];
  }
  for (int row = 0; row < Rows; ++row)
    for (int v = 0; v < vectors; ++v) store<Real>(c + row * ldc + v * kWidth<Real>, sums[row][v]);
}

template <class Real, int Rows = kTileRows>
inline void add_transposed_rows(int rows, int depth, const Real* a, std::int64_t lda, const Real* panel, Real* c, std::int64_t ldc) {
  if (rows == Rows)
    add_transposed_tile<Real, Rows>(depth, a, lda, panel, c, ldc);
  else if constexpr (Rows > 1)
    add_transposed_rows<Real, Rows - 1>(rows, depth, a, lda, panel, c, ldc);
}

/// c (m, width) += a^T b for one panel of columns of b (depth, width), width at most kPanel.
template <class Real>
inline void add_transposed_panel(int depth, std::int64_t m, std::int64_t width, const Real* a, std::int64_t lda, const Real* b,
                                 std::int64_t ldb, Real* c, std::int64_t ldc) {
  Real panel[kBlockRows * kPanel<Real>];
  pack<Real>(depth, width, b, ldb, 1, panel);
  for (std::int64_t row = 0; row < m; row += kTileRows) {
    const int height = static_cast<int>(m - row < kTileRows ? m - row : kTileRows);
    if (width == kPanel<Real>) {
      add_transposed_rows<Real>(height, depth, a + row, lda, panel, c + row * ldc, ldc);
      continue;
    }
    Real part[kTileRows * kPanel<Real>] = {};
    add_transposed_rows<Real>(height, depth, a + row, lda, panel, part, kPanel<Real>);
    for (int r = 0; r < height; ++r)
      for (std::int64_t k = 0; k < width; ++k) c[(row + r) * ldc + k] += part[r * kPanel<Real> + k];
  }
}

/// c (m, n) += a^T b with a (depth, m) and b (depth, n).
template <class Real>
inline void add_transposed_product(std::int64_t depth, std::int64_t m, std::int64_t n, const Real* a, std::int64_t lda, const Real* b,
                                   std::int64_t ldb, Real* c, std::int64_t ldc) {
  for (std::int64_t begin = 0; begin < depth; begin += kBlockRows) {
    const int count = static_cast<int>(depth - begin < kBlockRows ? depth - begin : kBlockRows);
    for (std::int64_t column = 0; column < n; column += kPanel<Real>)
      add_transposed_panel<Real>(count, m, n - column < kPanel<Real> ? n - column : kPanel<Real>, a + begin * lda, lda,
                                 b + begin * ldb + column, ldb, c + column, ldc);
  }
}

/// to (columns) += the sum of rows.
template <class Real>
inline void add_column_sums(std::int64_t rows, std::int64_t columns, const Real* from, Real* to) {
  for (std::int64_t row = 0; row < rows; ++row)
    for_channels<Real>(0, columns, [&](std::int64_t e, auto lanes) { lanes.add(to + e, lanes.get(from + row * columns + e)); });
}

/// y = x W^T + b.
template <class Real>
inline void apply(const Matrix<Real>& matrix, std::int64_t rows, const Real* x, Real* y) {
  if (matrix.bias.value == nullptr)
    product<Real, Start::zero>(rows, x, matrix.depth, matrix.depth, matrix.forward, nullptr, matrix.columns, y, matrix.columns);
  else
    product<Real, Start::bias>(rows, x, matrix.depth, matrix.depth, matrix.forward, matrix.bias.value, matrix.columns, y, matrix.columns);
}

/// y = x W^T, or y += x W^T.
template <class Real, Start start = Start::zero>
inline void multiply(const Matrix<Real>& matrix, std::int64_t rows, const Real* x, Real* y) {
  product<Real, start>(rows, x, matrix.depth, matrix.depth, matrix.forward, nullptr, matrix.columns, y, matrix.columns);
}

/// x = y W.
template <class Real, Start start = Start::zero>
inline void multiply_back(const Matrix<Real>& matrix, std::int64_t rows, const Real* y, Real* x) {
  product<Real, start>(rows, y, matrix.columns, matrix.columns, matrix.backward, nullptr, matrix.depth, x, matrix.depth);
}

/// Gradient of the weights from that of y and from x: += by_y^T x.
template <class Real>
inline void add_weight_gradient(const Matrix<Real>& matrix, std::int64_t rows, const Real* by_y, const Real* x, Real* gradients) {
  add_transposed_product<Real>(rows, matrix.columns, matrix.depth, by_y, matrix.columns, x, matrix.depth,
                               gradients + matrix.weight.gradient, matrix.depth);
}

}  // namespace SO3MD_CPU_NAMESPACE::training
