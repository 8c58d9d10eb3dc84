// Matrices in the panels that kernels read, and the memory that they live in.
#pragma once

#include <deque>
#include <vector>

#include "common/aligned.h"
#include "network/parameters.h"

namespace so3md::paper2022 {

/// A matrix (depth, columns) and a bias, already at the places that the layout gives to inputs and outputs.
struct PlacedMatrix {
  PlacedMatrix(int inputs, int outputs, bool with_bias)
      : depth(inputs),
        columns(outputs),
        weight(static_cast<std::size_t>(inputs) * static_cast<std::size_t>(outputs)),
        bias(with_bias ? static_cast<std::size_t>(outputs) : 0) {}

  int depth, columns;
  std::vector<double> weight, bias;

  double& at(int in, int out) {
    return weight[static_cast<std::size_t>(in) * static_cast<std::size_t>(columns) + static_cast<std::size_t>(out)];
  }
  double at(int in, int out) const { return const_cast<PlacedMatrix*>(this)->at(in, out); }
};

template <class Real>
class PackedMemory {
 public:
  Real* allocate(std::size_t count) { return storage_.emplace_back(count, Real(0)).data(); }

  const Real* store(const std::vector<double>& values, int padded_size) {
    Real* to = allocate(static_cast<std::size_t>(padded_size));
    for (std::size_t k = 0; k < values.size(); ++k) to[k] = static_cast<Real>(values[k]);
    return to;
  }

  /// The matrix and its transpose.
  LinearPair<Real> pack(const PlacedMatrix& matrix) {
    const int columns = padded<Real>(matrix.columns), back = padded<Real>(matrix.depth);
    LinearPair<Real> out;
    out.forward = {panels(matrix.depth, matrix.columns, [&](int in, int to) { return matrix.at(in, to); }),
                   matrix.bias.empty() ? nullptr : store(matrix.bias, columns), matrix.depth, columns};
    out.adjoint = {panels(matrix.columns, matrix.depth, [&](int from, int to) { return matrix.at(to, from); }), nullptr, matrix.columns,
                   back};
    return out;
  }

 private:
  // Panels of kPanel columns, each with all its rows behind each other.
  template <class Element>
  const Real* panels(int depth, int columns, const Element& element) {
    constexpr int panel = kPanel<Real>;
    Real* const start = allocate(static_cast<std::size_t>(depth) * static_cast<std::size_t>(padded<Real>(columns)));
    Real* to = start;
    for (int first = 0; first < columns; first += panel)
      for (int row = 0; row < depth; ++row)
        for (int lane = 0; lane < panel; ++lane) *to++ = first + lane < columns ? static_cast<Real>(element(row, first + lane)) : Real(0);
    return start;
  }

  std::deque<AlignedVector<Real>> storage_;
};

}  // namespace so3md::paper2022
