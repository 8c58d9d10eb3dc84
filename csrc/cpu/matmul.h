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
#pragma GCC unroll 4
  for (int k = 0; k < depth; ++k) {
    Vec<Real> b[vectors];
    for (int v = 0; v < vectors; ++v) b[v] = load<Real>(panel + k * kPanel<Real> + v * kWidth<Real>);
    for (int row = 0; row < Rows; ++row)
      for (int v = 0; v < vectors; ++v) sums[row][v] += a[row * lda + k] * b[v];
  }
  for (int row = 0; row < Rows; ++row)
    for (int v = 0; v < vectors; ++v) store<Real>(c + row * ldc + v * kWidth<Real>, sums[row][v]);
}

/// A tile of some number of rows.
template <class Real>
using Tile = void (*)(int depth, const Real* a, int lda, const Real* panel, const Real* bias, Real* c, int ldc);

template <class Real, Start start, int Rows = kTileRows>
inline Tile<Real> tile_of(int rows) {
  if constexpr (Rows > 1)
    if (rows < Rows) return tile_of<Real, start, Rows - 1>(rows);
  return matmul_tile<Real, start, Rows>;
}

/// c (rows, columns) = a (rows, depth) W, plus the bias or what stands in c. Strides in numbers.
///
/// Rows are divided evenly: the first tiles may have one more than the others.
template <class Real, Start start>
inline void matmul(int rows, const Real* a, int lda, const Real* weight, const Real* bias, int depth, int columns, Real* c, int ldc) {
  if (rows <= 0) return;
  const int tiles = (rows + kTileRows - 1) / kTileRows, height = rows / tiles, taller = rows % tiles;
  const Tile<Real> tall = tile_of<Real, start>(height + 1), low = tile_of<Real, start>(height);
  for (int column = 0; column < columns; column += kPanel<Real>) {
    const Real* panel = weight + column * depth;
    const Real* panel_bias = start == Start::bias ? bias + column : nullptr;
    const Real* from = a;
    Real* to = c + column;
    for (int tile = 0; tile < tiles; ++tile) {
      const bool is_tall = tile < taller;
      (is_tall ? tall : low)(depth, from, lda, panel, panel_bias, to, ldc);
      from += (height + is_tall) * lda;
      to += (height + is_tall) * ldc;
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
