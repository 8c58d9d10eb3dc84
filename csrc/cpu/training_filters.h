// The radial part of the filters in a training step, see training::RadialFilterStep.
#pragma once

#include "cpu/training_channels.h"
#include "cpu/training_products.h"
#include "cpu/vector_math.h"
#include "training/kernels.h"

namespace SO3MD_CPU_NAMESPACE::training {

/// Pairs that go through all products together, so that what lies between these stays near.
inline constexpr int kTilePairs = 48;

/// The scratch memory of a step, one piece after the other.
template <class Real>
struct FilterScratch {
  Real *weight1, *weight2, *inner, *inner_slopes, *scaled, *by_basis, *spare, *by_weight1, *by_weight2;
  std::int64_t used = 0;

  /// Without memory only `used`, the size, is set.
  FilterScratch(const so3md::training::RadialFilterStep<Real>& step, Real* memory) {
    const std::int64_t hidden = padded_columns<Real>(step.hidden), features = padded_columns<Real>(step.features);
    const std::int64_t basis = padded_columns<Real>(step.basis_size), widest = hidden > features ? hidden : features;
    auto next = [this, memory](std::int64_t size) {
      Real* piece = memory == nullptr ? nullptr : memory + used;
      used += size;
      return piece;
    };
    weight1 = next(hidden * basis);
    weight2 = next(hidden * features);
    inner = next(kTilePairs * hidden);
    inner_slopes = next(kTilePairs * hidden);
    scaled = next(kTilePairs * features);
    by_basis = next(kTilePairs * basis);
    spare = next(kTilePairs * (widest > basis ? widest : basis));
    by_weight1 = next(hidden * basis);
    by_weight2 = next(features * hidden);
  }
};

template <class Real>
std::size_t filter_scratch_size(const so3md::training::RadialFilterStep<Real>& step) {
  return static_cast<std::size_t>(FilterScratch<Real>(step, nullptr).used);
}

/// silu of z (pairs), its derivatives, and products with the slopes of z.
template <class Real>
inline void activate(std::int64_t count, const Real* z, const Real* z_slopes, Real* values, Real* value_slopes, Real* slope, Real* bend) {
  auto one = [&](Vec<Real> x, Vec<Real> dx, Vec<Real>& y, Vec<Real>& first, Vec<Real>& second) {
    const Vec<Real> s = logistic<Real>(x), rest = s - s * s;
    y = x * s;
    first = s + x * rest;
    second = (x - Real(2) * y + Real(2)) * rest * dx;
  };
  std::int64_t e = 0;
  Vec<Real> y, first, second;
  for (; e + kWidth<Real> <= count; e += kWidth<Real>) {
    const Vec<Real> dx = load<Real>(z_slopes + e);
    one(load<Real>(z + e), dx, y, first, second);
    store<Real>(values + e, y);
    store<Real>(value_slopes + e, first * dx);
    store<Real>(slope + e, first);
    store<Real>(bend + e, second);
  }
  for (; e < count; ++e) {
    one(broadcast<Real>(z[e]), broadcast<Real>(z_slopes[e]), y, first, second);
    values[e] = y[0];
    value_slopes[e] = first[0] * z_slopes[e];
    slope[e] = first[0];
    bend[e] = second[0];
  }
}

template <class Real>
void filter_forward(const so3md::training::RadialFilterStep<Real>& step, Real* memory) {
  const std::int64_t pairs = step.pairs, size = step.basis_size, hidden = step.hidden, features = step.features;
  const FilterScratch<Real> scratch(step, memory);
  for (std::int64_t block = 0; block < 2; ++block) {
    pack<Real>(size, hidden, step.weight1 + block * hidden * size, 1, size, scratch.weight1);
    pack<Real>(hidden, features, step.weight2 + block * features * hidden, 1, hidden, scratch.weight2);
    Real* const values = step.values + block * 2 * pairs * hidden;
    Real* const result = step.result + block * 2 * pairs * features;
    for (std::int64_t start = 0; start < pairs; start += kTilePairs) {
      const int rows = static_cast<int>(pairs - start < kTilePairs ? pairs - start : kTilePairs);
      const std::int64_t slopes = pairs + start;
      product<Real>(rows, step.basis + start * size, size, scratch.weight1, step.bias1 + block * hidden, hidden, scratch.inner,
                    scratch.spare);
      product<Real>(rows, step.basis + slopes * size, size, scratch.weight1, nullptr, hidden, scratch.inner_slopes, scratch.spare);
      const std::int64_t place = (block * pairs + start) * hidden;
      activate<Real>(rows * hidden, scratch.inner, scratch.inner_slopes, values + start * hidden, values + slopes * hidden,
                     step.slope + place, step.bend + place);
      product<Real>(rows, values + start * hidden, hidden, scratch.weight2, step.bias2 + block * features, features,
                    result + start * features, scratch.spare);
      product<Real>(rows, values + slopes * hidden, hidden, scratch.weight2, nullptr, features, result + slopes * features, scratch.spare);
    }
  }
}

/// by_value = by_value slope + by_slope bend, by_slope *= slope; both (pairs, hidden).
template <class Real>
inline void activation_gradient(std::int64_t count, const Real* slope, const Real* bend, Real* by_value, Real* by_slope) {
  for_channels<Real>(0, count, [&](std::int64_t e, auto lanes) {
    const auto first = lanes.get(slope + e), g = lanes.get(by_slope + e);
    lanes.put(by_value + e, lanes.get(by_value + e) * first + g * lanes.get(bend + e));
    lanes.put(by_slope + e, g * first);
  });
}

/// to (rows, columns) += from (rows, padded columns).
template <class Real>
inline void add_unpadded(std::int64_t rows, std::int64_t columns, const Real* from, Real* to) {
  const std::int64_t stride = padded_columns<Real>(columns);
  for (std::int64_t row = 0; row < rows; ++row)
    for (std::int64_t c = 0; c < columns; ++c) to[row * columns + c] += from[row * stride + c];
}

template <class Real>
void filter_gradient(const so3md::training::RadialFilterStep<Real>& step, Real* memory) {
  const std::int64_t pairs = step.pairs, size = step.basis_size, hidden = step.hidden, features = step.features;
  const FilterScratch<Real> scratch(step, memory);
  for (std::int64_t block = 0; block < 2; ++block) {
    pack<Real>(features, hidden, step.weight2 + block * features * hidden, hidden, 1, scratch.weight2);
    if (step.by_basis != nullptr) pack<Real>(hidden, size, step.weight1 + block * hidden * size, size, 1, scratch.weight1);
    for (Real* p = scratch.by_weight1; p < memory + scratch.used; ++p) *p = 0;
    const Real* const values = step.values + block * 2 * pairs * hidden;
    Real* const by_bias = step.by_bias1 + block * hidden;
    for (std::int64_t start = 0; start < pairs; start += kTilePairs) {
      const int rows = static_cast<int>(pairs - start < kTilePairs ? pairs - start : kTilePairs);
      const std::int64_t slopes = pairs + start, place = block * pairs + start;
      const Real* const by_result = step.gradient + place * features;
      for (int row = 0; row < rows; ++row) {
        const Real along = step.distances[start + row];
        const Real* const adjoint = step.adjoints + (place + row) * features;
        for (std::int64_t c = 0; c < features; ++c) scratch.scaled[row * features + c] = along * adjoint[c];
      }
      product<Real>(rows, by_result, features, scratch.weight2, nullptr, hidden, scratch.inner, scratch.spare);
      product<Real>(rows, scratch.scaled, features, scratch.weight2, nullptr, hidden, scratch.inner_slopes, scratch.spare);
      activation_gradient<Real>(rows * hidden, step.slope + place * hidden, step.bend + place * hidden, scratch.inner,
                                scratch.inner_slopes);
      add_transposed_product<Real>(rows, features, hidden, by_result, values + start * hidden, scratch.by_weight2, scratch.spare);
      add_transposed_product<Real>(rows, features, hidden, scratch.scaled, values + slopes * hidden, scratch.by_weight2, scratch.spare);
      add_transposed_product<Real>(rows, hidden, size, scratch.inner, step.basis + start * size, scratch.by_weight1, scratch.spare);
      add_transposed_product<Real>(rows, hidden, size, scratch.inner_slopes, step.basis + slopes * size, scratch.by_weight1, scratch.spare);
      for (int row = 0; row < rows; ++row)
        for (std::int64_t c = 0; c < hidden; ++c) by_bias[c] += scratch.inner[row * hidden + c];
      if (step.by_basis == nullptr) continue;
      for (int part = 0; part < 2; ++part) {
        product<Real>(rows, part ? scratch.inner_slopes : scratch.inner, hidden, scratch.weight1, nullptr, size, scratch.by_basis,
                      scratch.spare);
        Real* const to = step.by_basis + (part ? slopes : start) * size;
        for (std::int64_t c = 0; c < rows * size; ++c) to[c] += scratch.by_basis[c];
      }
    }
    add_unpadded<Real>(features, hidden, scratch.by_weight2, step.by_weight2 + block * features * hidden);
    add_unpadded<Real>(hidden, size, scratch.by_weight1, step.by_weight1 + block * hidden * size);
  }
}

}  // namespace SO3MD_CPU_NAMESPACE::training
