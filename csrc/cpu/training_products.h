// Products of matrices of any number of columns, which are packed for each step of a training.
#pragma once

#include "cpu/matmul.h"
#include "cpu/training_channels.h"
#include "training/kernels.h"

namespace SO3MD_CPU_NAMESPACE::training {

using so3md::training::Matrix;

/// Most rows that go through several products together, so that what lies between these stays near.
inline constexpr int kBlockRows = 120;

/// Rows of each block when `rows` are divided evenly; the last may have fewer.
inline std::int64_t rows_of_block(std::int64_t rows) {
  const std::int64_t blocks = (rows + kBlockRows - 1) / kBlockRows;
  return blocks == 0 ? 1 : (rows + blocks - 1) / blocks;
}

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
    } else if (column_stride == 1 && width == kPanel<Real>) {
      for (std::int64_t k = 0; k < depth; ++k)
        for (int c = 0; c < kPanel<Real>; c += kWidth<Real>)
          store<Real>(packed + k * kPanel<Real> + c, load<Real>(panel + k * row_stride + c));
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
  const std::int64_t block = rows_of_block(rows);
  for (std::int64_t begin = 0; begin < rows; begin += block, a += block * lda, c += block * ldc) {
    const int count = static_cast<int>(rows - begin < block ? rows - begin : block);
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

/// One of the two products that a gradient of weights consists of: a^T b, with kTileRows columns of a and a panel of columns of b packed.
template <class Real>
struct TransposedTerm {
  const Real* a;
  const Real* panel;
};

/// Rows x one panel of c += a^T b + a'^T b'.
template <class Real, int Rows>
inline void add_transposed_tile(int depth, const TransposedTerm<Real>* terms, int count, Real* c, std::int64_t ldc) {
  constexpr int vectors = kPanel<Real> / kWidth<Real>;
  Vec<Real> sums[Rows][vectors];
  for (int row = 0; row < Rows; ++row)
    for (int v = 0; v < vectors; ++v) sums[row][v] = load<Real>(c + row * ldc + v * kWidth<Real>);
  for (int term = 0; term < count; ++term) {
    const Real *a = terms[term].a, *panel = terms[term].panel;
    for (int k = 0; k < depth; ++k, a += kTileRows, panel += kPanel<Real>) {
      Vec<Real> b[vectors];
      for (int v = 0; v < vectors; ++v) b[v] = load<Real>(panel + v * kWidth<Real>);
      for (int row = 0; row < Rows; ++row)
        for (int v = 0; v < vectors; ++v) sums[row][v] += a[row] * b[v];
    }
  }
  for (int row = 0; row < Rows; ++row)
    for (int v = 0; v < vectors; ++v) store<Real>(c + row * ldc + v * kWidth<Real>, sums[row][v]);
}

template <class Real, int Rows = kTileRows>
inline void add_transposed_rows(int rows, int depth, const TransposedTerm<Real>* terms, int count, Real* c, std::int64_t ldc) {
  if (rows == Rows)
    add_transposed_tile<Real, Rows>(depth, terms, count, c, ldc);
  else if constexpr (Rows > 1)
    add_transposed_rows<Real, Rows - 1>(rows, depth, terms, count, c, ldc);
}

/// A matrix of rows that lie `stride` numbers apart.
template <class Real>
struct Rows {
  const Real* data;
  std::int64_t stride;

  Rows from(std::int64_t row, std::int64_t column) const { return {data + row * stride + column, stride}; }
};

/// Tiles of columns of a that are packed at a time. Read where they stand, columns of many rows would push each other out of the cache.
inline constexpr int kTilesAtOnce = 8;

/// Packs columns of a (depth, columns), at most kTilesAtOnce tiles.
template <class Real>
inline void pack_tiles(int depth, std::int64_t columns, const Rows<Real>& a, Real* packed) {
  for (std::int64_t start = 0; start < columns; start += kTileRows, packed += depth * kTileRows) {
    const std::int64_t width = columns - start < kTileRows ? columns - start : kTileRows;
    for (int k = 0; k < depth; ++k) {
      const Real* const row = a.data + k * a.stride + start;
      if (width == kTileRows)
        for (int c = 0; c < kTileRows; ++c) packed[k * kTileRows + c] = row[c];
      else
        for (std::int64_t c = 0; c < width; ++c) packed[k * kTileRows + c] = row[c];
    }
  }
}

/// c (rows, width) += the terms for one panel, width at most kPanel; the terms stand at the first tile.
template <class Real>
inline void add_transposed_panel(int depth, std::int64_t rows, std::int64_t width, TransposedTerm<Real>* terms, int count, Real* c,
                                 std::int64_t ldc) {
  for (std::int64_t row = 0; row < rows; row += kTileRows) {
    const int height = static_cast<int>(rows - row < kTileRows ? rows - row : kTileRows);
    if (width == kPanel<Real>) {
      add_transposed_rows<Real>(height, depth, terms, count, c + row * ldc, ldc);
    } else {
      Real part[kTileRows * kPanel<Real>] = {};
      add_transposed_rows<Real>(height, depth, terms, count, part, kPanel<Real>);
      for (int r = 0; r < height; ++r)
        for (std::int64_t k = 0; k < width; ++k) c[(row + r) * ldc + k] += part[r * kPanel<Real> + k];
    }
    for (int term = 0; term < count; ++term) terms[term].a += depth * kTileRows;
  }
}

/// c (m, n) += a^T b + a'^T b' with a (depth, m) and b (depth, n) of at most kBlockRows rows, m at most kTilesAtOnce tiles.
template <class Real>
inline void add_transposed_block(int depth, std::int64_t m, std::int64_t n, const Rows<Real>* a, const Rows<Real>* b, int count, Real* c,
                                 std::int64_t ldc) {
  Real tiles[2][kBlockRows * kTilesAtOnce * kTileRows], panels[2][kBlockRows * kPanel<Real>];
  for (int term = 0; term < count; ++term) pack_tiles<Real>(depth, m, a[term], tiles[term]);
  for (std::int64_t column = 0; column < n; column += kPanel<Real>) {
    const std::int64_t width = n - column < kPanel<Real> ? n - column : kPanel<Real>;
    TransposedTerm<Real> terms[2];
    for (int term = 0; term < count; ++term) {
      pack<Real>(depth, width, b[term].data + column, b[term].stride, 1, panels[term]);
      terms[term] = {tiles[term], panels[term]};
    }
    add_transposed_panel<Real>(depth, m, width, terms, count, c + column, ldc);
  }
}

/// c (m, n) += a^T b + a'^T b' with a (depth, m) and b (depth, n); count: one or two terms.
template <class Real>
inline void add_transposed_products(std::int64_t depth, std::int64_t m, std::int64_t n, const Rows<Real>* a, const Rows<Real>* b, int count,
                                    Real* c, std::int64_t ldc) {
  constexpr std::int64_t most = kTilesAtOnce * kTileRows;
  const std::int64_t block = rows_of_block(depth);
  for (std::int64_t begin = 0; begin < depth; begin += block) {
    const int rows = static_cast<int>(depth - begin < block ? depth - begin : block);
    const Rows<Real> own_b[2] = {b[0].from(begin, 0), b[count - 1].from(begin, 0)};
    for (std::int64_t first = 0; first < m; first += most) {
      const Rows<Real> own_a[2] = {a[0].from(begin, first), a[count - 1].from(begin, first)};
      add_transposed_block<Real>(rows, m - first < most ? m - first : most, n, own_a, own_b, count, c + first * ldc, ldc);
    }
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

/// Gradient of the weights from that of y and from x, and from another pair of these: += by_y^T x + other_by_y^T other_x.
template <class Real>
inline void add_weight_gradient(const Matrix<Real>& matrix, std::int64_t rows, const Real* by_y, const Real* x, const Real* other_by_y,
                                const Real* other_x, Real* gradients) {
  const Rows<Real> a[2] = {{by_y, matrix.columns}, {other_by_y, matrix.columns}}, b[2] = {{x, matrix.depth}, {other_x, matrix.depth}};
  add_transposed_products<Real>(rows, matrix.columns, matrix.depth, a, b, other_x == nullptr ? 1 : 2, gradients + matrix.weight.gradient,
                                matrix.depth);
}

}  // namespace SO3MD_CPU_NAMESPACE::training
