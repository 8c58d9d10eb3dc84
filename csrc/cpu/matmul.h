// Products of a few rows with packed matrices.
#pragma once

#include "cpu/simd.h"
#include "network/parameters.h"

namespace SO3MD_CPU_NAMESPACE {

/// Rows of a register tile; with the panels' width this fills the registers.
inline constexpr int kTileRows = kVectorBytes == 64 ? 14 : (kVectorBytes == 32 ? 6 : 3);

enum class Start { zero, bias, accumulate };

/// Rows x one panel of columns, accumulated in registers over the whole depth.
template <class Real, Start start, int Rows>
inline void matmul_tile(int depth, const Real* a, int lda, const Real* panel, const Real* bias, Real* c, int ldc) {
  constexpr int vectors = kPanel<Real> / kWidth<Real>;
  Vec<Real> sums[Rows][vectors];
  for (int row = 0; row < Rows; ++row)
    for (int v = 0; v < vectors; ++v) {
      if constexpr (start == Start::bias)
        sums[row][v] = load<Real>(bias + v * kWidth<Real>);
      else if constexpr (start == Start::accumulate)
        sums[row][v] = load<Real>(c + row * ldc + v * kWidth<Real>);
      else
        sums[row][v] = Vec<Real>{};
    }
#pragma GCC unroll 8
  for (int k = 0; k < depth; ++k) {
    Vec<Real> b[vectors];
    for (int v = 0; v < vectors; ++v) b[v] = load<Real>(panel + k * kPanel<Real> + v * kWidth<Real>);
    for (int row = 0; row < Rows; ++row)
      for (int v = 0; v < vectors; ++v) sums[row][v] += a[row * lda + k] * b[v];
  }
  for (int row = 0; row < Rows; ++row)
    for (int v = 0; v < vectors; ++v) store<Real>(c + row * ldc + v * kWidth<Real>, sums[row][v]);
}

template <class Real, Start start, int Rows = kTileRows>
inline void matmul_rows(int rows, int depth, const Real* a, int lda, const Real* panel, const Real* bias, Real* c, int ldc) {
  if (rows == Rows)
    matmul_tile<Real, start, Rows>(depth, a, lda, panel, bias, c, ldc);
  else if constexpr (Rows > 1)
    matmul_rows<Real, start, Rows - 1>(rows, depth, a, lda, panel, bias, c, ldc);
}

/// c (rows, columns) = a (rows, depth) W, plus the bias or what stands in c. Strides in numbers.
template <class Real, Start start>
inline void matmul(int rows, const Real* a, int lda, const Real* weight, const Real* bias, int depth, int columns, Real* c, int ldc) {
  const int blocks = (rows + kTileRows - 1) / kTileRows;
  for (int column = 0; column < columns; column += kPanel<Real>) {
    int row = 0;
    for (int block = 0; block < blocks; ++block) {
      const int height = (rows - row + blocks - block - 1) / (blocks - block);
      const Real* panel_bias = start == Start::bias ? bias + column : nullptr;
      matmul_rows<Real, start>(height, depth, a + row * lda, lda, weight + column * depth, panel_bias, c + row * ldc + column, ldc);
      row += height;
    }
  }
}

/// c = a W + bias.
template <class Real>
inline void apply(const Linear<Real>& linear, int rows, const Real* a, int lda, Real* c, int ldc) {
  if (linear.bias == nullptr)
    matmul<Real, Start::zero>(rows, a, lda, linear.weight, nullptr, linear.depth, linear.columns, c, ldc);
  else
    matmul<Real, Start::bias>(rows, a, lda, linear.weight, linear.bias, linear.depth, linear.columns, c, ldc);
}

/// c += a W.
template <class Real>
inline void add_product(const Linear<Real>& linear, int rows, const Real* a, int lda, Real* c, int ldc) {
  matmul<Real, Start::accumulate>(rows, a, lda, linear.weight, nullptr, linear.depth, linear.columns, c, ldc);
}

}  // namespace SO3MD_CPU_NAMESPACE
