#include "physics/wave_vectors.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "common/formula.h"

namespace so3md {

namespace {

using std::numbers::pi;

// 2 pi times the columns of the inverse, which are the dual basis of the lattice vectors.
Matrix3 reciprocal_vectors(const Cell& cell) {
  Matrix3 out;
  for (std::size_t j = 0; j < 3; ++j)
    for (std::size_t x = 0; x < 3; ++x) out[j][x] = 2.0 * pi * cell.inverse()[x][j];
  return out;
}

Vec3 combine(const Matrix3& vectors, int a, int b) {
  Vec3 out;
  for (std::size_t x = 0; x < 3; ++x) out[x] = a * vectors[0][x] + b * vectors[1][x];
  return out;
}

// The largest |c| of the wave vectors start + c step within the bound; -1: there is none.
int largest_multiple(const Vec3& start, const Vec3& step, double longest) {
  const double square = dot(step, step), half = dot(start, step);
  const double discriminant = half * half - square * (dot(start, start) - longest * longest);
  if (discriminant < 0.0) return -1;
  const double root = std::sqrt(discriminant);
  return static_cast<int>(std::floor(std::max(root - half, root + half) / square));
}

class Builder {
 public:
  Builder(const Cell& cell, double sigma, double longest)
      : vectors_(reciprocal_vectors(cell)), sigma_(sigma), longest_(longest), factor_(8.0 * pi * kCoulomb / cell.volume()) {
    for (std::size_t j = 0; j < 3; ++j)
      waves_.reach[j] = static_cast<int>(longest * std::sqrt(dot(cell.vectors()[j], cell.vectors()[j])) / (2.0 * pi));
    waves_.reach[2] |= 1;
  }

  WaveVectors build() {
    for (int a = 0; a <= waves_.reach[0]; ++a)
      for (int b = a == 0 ? 0 : -waves_.reach[1]; b <= waves_.reach[1]; ++b) add_row(a, b);
    return std::move(waves_);
  }

 private:
  void add_row(int a, int b) {
    const Vec3 start = combine(vectors_, a, b);
    const int largest = std::min(largest_multiple(start, vectors_[2], longest_), waves_.reach[2]);
    if (largest < (a == 0 && b == 0 ? 1 : 0)) return;
    const int count = (largest | 1) + 1;
    waves_.rows.push_back({a, b, count, waves_.num_entries()});
    for (int c = 0; c < count; ++c) {
      WaveWeights entry;
      if (a != 0 || b != 0 || c != 0) set_weight(start, c, entry.plus, entry.strain_plus);
      if (c != 0 && (a != 0 || b != 0)) set_weight(start, -c, entry.minus, entry.strain_minus);
      waves_.weights.push_back(entry);
    }
  }

  void set_weight(const Vec3& start, int c, double& weight, double& strain) const {
    Vec3 k;
    for (std::size_t x = 0; x < 3; ++x) k[x] = start[x] + c * vectors_[2][x];
    const double square = dot(k, k), quarter = 0.25 * sigma_ * sigma_;
    if (square > longest_ * longest_) return;
    weight = factor_ * std::exp(-quarter * square) / square;
    strain = weight * (1.0 / square + quarter);
  }

  Matrix3 vectors_;
  double sigma_, longest_, factor_;
  WaveVectors waves_;
};

}  // namespace

WaveVectors make_wave_vectors(const Cell& cell, double sigma, double longest) { return Builder(cell, sigma, longest).build(); }

// A sphere in reciprocal space, whose points have a density of V / (2 pi)^3, and four of which make an entry.
double estimate_entries(double volume, double longest) { return 0.25 * volume * longest * longest * longest / (6.0 * pi * pi); }

double ewald_force_error(double density, double sigma, double longest) {
  const double scaled = sigma * longest;
  return kCoulomb * std::sqrt(8.0 * density / (sigma * scaled)) * std::exp(-0.25 * scaled * scaled);
}

double longest_wave_vector(double density, double sigma, double accuracy) {
  double low = 1.0 / sigma, high = 50.0 / sigma;  // the error falls from more than anybody wants to nothing
  for (int step = 0; step < 60; ++step) {
    const double middle = 0.5 * (low + high);
    (ewald_force_error(density, sigma, middle) > accuracy ? low : high) = middle;
  }
  return high;
}

}  // namespace so3md
