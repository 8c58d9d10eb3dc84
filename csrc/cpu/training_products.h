// Products of matrices that are not packed beforehand, of any number of columns.
#pragma once

#include "cpu/matmul.h"

namespace SO3MD_CPU_NAMESPACE::training {

template <class Real>
inline std::int64_t padded_columns(std::int64_t columns) {
  return (columns + kPanel<Real> - 1) / kPanel<Real> * kPanel<Real>;
}

/// Puts a matrix (depth, columns) with elements from[k * row_stride + c * column_stride] into panels, filled up with zeros.
template <class Real>
inline void pack(std::int64_t depth, std::int64_t columns, const Real* from, std::int64_t row_stride, std::int64_t column_stride,
                 Real* packed) {
  for (std::int64_t start = 0; start < columns; start += kPanel<Real>) {
    const std::int64_t width = columns - start < kPanel<Real> ? columns - start : kPanel<Real>;
    for (std::int64_t k = 0; k < depth; ++k, packed += kPanel<Real>) {
      const Real* row = from + k * row_stride + start * column_stride;
      for (std::int64_t c = 0; c < width; ++c) packed[c] = row[c * column_stride];
      for (std::int64_t c = width; c < kPanel<Real>; ++c) packed[c] = 0;
    }
  }
}

/// c (rows, columns) = a (rows, depth) W + bias (may be null), W packed; spare: rows * kPanel numbers. Rows of c lie close to each other.
template <class Real>
inline void product(int rows, const Real* a, std::int64_t depth, const Real* packed, const Real* bias, std::int64_t columns, Real* c,
                    Real* spare) {
  const int whole = static_cast<int>(columns / kPanel<Real> * kPanel<Real>);
  const int d = static_cast<int>(depth), stride = static_cast<int>(columns);
  if (bias == nullptr)
    matmul<Real, Start::zero>(rows, a, d, packed, nullptr, d, whole, c, stride);
  else
    matmul<Real, Start::bias>(rows, a, d, packed, bias, d, whole, c, stride);
  if (whole == columns) return;
  matmul<Real, Start::zero>(rows, a, d, packed + whole * depth, nullptr, d, kPanel<Real>, spare, kPanel<Real>);
  for (int row = 0; row < rows; ++row)
    for (int k = whole; k < columns; ++k) c[row * columns + k] = spare[row * kPanel<Real> + k - whole] + (bias == nullptr ? 0 : bias[k]);
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

/// c (m, padded n) += a^T b with a (depth, m) and b (depth, n); the rows of c have room for whole panels. spare: depth * padded n.
template <class Real>
inline void add_transposed_product(int depth, std::int64_t m, std::int64_t n, const Real* a, const Real* b, Real* c, Real* spare) {
  pack<Real>(depth, n, b, n, 1, spare);
  const std::int64_t stride = padded_columns<Real>(n);
  for (std::int64_t column = 0; column < n; column += kPanel<Real>)
    for (std::int64_t row = 0; row < m; row += kTileRows) {
      const int height = static_cast<int>(m - row < kTileRows ? m - row : kTileRows);
      add_transposed_rows<Real>(height, depth, a + row, m, spare + column * depth, c + row * stride + column, stride);
    }
}

}  // namespace SO3MD_CPU_NAMESPACE::training
