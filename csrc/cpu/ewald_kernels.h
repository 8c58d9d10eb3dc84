// The Ewald sum: structure factors from atoms, and what they bring back to atoms.
//
// Both work on a block of atoms, by columns, and a row of wave vectors at a time. Equation numbers refer to docs/theory.md.
#pragma once

#include "cpu/simd.h"
#include "physics/ewald.h"

namespace SO3MD_CPU_NAMESPACE {

/// Powers of the three factors of a block of atoms, real and imaginary parts one after the other.
template <class Real>
struct WavePowers {
  static constexpr int kBlock = kEwaldBlock;
  Real* powers[3];  // [multiple][2][kBlock]
  Real* charges;    // [kBlock]
  int count = 0;    // of atoms, filled up to whole vectors with atoms without charge

  static std::int64_t size(const EwaldStep<Real>& step) {
    return (std::int64_t{step.reach[0]} + step.reach[1] + step.reach[2] + 3) * 2 * kBlock + kBlock;
  }

  WavePowers(const EwaldStep<Real>& step, Real* scratch) {
    for (int axis = 0; axis < 3; ++axis) {
      powers[axis] = scratch;
      scratch += (std::int64_t{step.reach[axis]} + 1) * 2 * kBlock;
    }
    charges = scratch;
  }

  /// By recurrence in double precision, so that high powers are as good as low ones.
  void fill(const EwaldStep<Real>& step, int begin, int end) {
    const int atoms = end - begin;
    count = (atoms + 2 * kWidth<Real> - 1) / (2 * kWidth<Real>)*(2 * kWidth<Real>);
    for (int i = 0; i < count; ++i) charges[i] = i < atoms ? static_cast<Real>(step.charges[begin + i]) : Real(0);
    for (int axis = 0; axis < 3; ++axis) {
      double cosine[kBlock], sine[kBlock], re[kBlock], im[kBlock];
      for (int i = 0; i < count; ++i) {
        cosine[i] = i < atoms ? step.turns[6 * (std::int64_t{begin} + i) + 2 * axis] : 1.0;
        sine[i] = i < atoms ? step.turns[6 * (std::int64_t{begin} + i) + 2 * axis + 1] : 0.0;
        re[i] = 1.0;
        im[i] = 0.0;
      }
      Real* out = powers[axis];
      for (int multiple = 0; multiple <= step.reach[axis]; ++multiple, out += 2 * kBlock)
        for (int i = 0; i < count; ++i) {
          out[i] = static_cast<Real>(re[i]);
          out[kBlock + i] = static_cast<Real>(im[i]);
          const double next = re[i] * cosine[i] - im[i] * sine[i];
          im[i] = re[i] * sine[i] + im[i] * cosine[i];
          re[i] = next;
        }
    }
  }

  const Real* of(int axis, int multiple) const { return powers[axis] + std::int64_t{multiple} * 2 * kBlock; }

  /// u + i v, the product for a row.
  void multiply(const WaveRow& row, Real* u, Real* v) const {
    const Real* first = of(0, row.a);
    const Real* second = of(1, row.b < 0 ? -row.b : row.b);
    const Real sign = row.b < 0 ? Real(-1) : Real(1);
    for (int i = 0; i < count; i += kWidth<Real>) {
      const Vec<Real> re = load(first + i), im = load(first + kBlock + i);
      const Vec<Real> other_re = load(second + i), other_im = load(second + kBlock + i) * sign;
      store<Real>(u + i, re * other_re - im * other_im);
      store<Real>(v + i, re * other_im + im * other_re);
    }
  }
};

/// The sums of eq. (80) over a block, of two neighbouring entries.
template <class Real>
inline void add_wave_sums(const WavePowers<Real>& atoms, const Real* u, const Real* v, int c, double* sums) {
  constexpr int kBlock = WavePowers<Real>::kBlock;
  const Real *one = atoms.of(2, c), *two = atoms.of(2, c + 1);
  Vec<Real> ux{}, uy{}, vx{}, vy{}, ux2{}, uy2{}, vx2{}, vy2{};
  for (int i = 0; i < atoms.count; i += kWidth<Real>) {
    const Vec<Real> u_i = load(u + i), v_i = load(v + i);
    const Vec<Real> x = load(one + i), y = load(one + kBlock + i), x2 = load(two + i), y2 = load(two + kBlock + i);
    ux += u_i * x;
    uy += u_i * y;
    vx += v_i * x;
    vy += v_i * y;
    ux2 += u_i * x2;
    uy2 += u_i * y2;
    vx2 += v_i * x2;
    vy2 += v_i * y2;
  }
  const Vec<Real> all[2 * kWaveSums] = {ux, uy, vx, vy, ux2, uy2, vx2, vy2};
  for (int k = 0; k < 2 * kWaveSums; ++k) sums[k] += static_cast<double>(sum<Real>(all[k]));
}

template <class Real>
std::int64_t ewald_scratch_size(const EwaldStep<Real>& step) {
  return WavePowers<Real>::size(step) + kWaveMoments * kEwaldBlock;
}

template <class Real>
void ewald_waves(const EwaldStep<Real>& step, int begin, int end, double* sums, Real* scratch) {
  WavePowers<Real> atoms(step, scratch);
  alignas(64) Real u[kEwaldBlock], v[kEwaldBlock];
  for (int first = begin; first < end; first += kEwaldBlock) {
    atoms.fill(step, first, first + kEwaldBlock < end ? first + kEwaldBlock : end);
    for (int r = 0; r < step.num_rows; ++r) {
      const WaveRow& row = step.rows[r];
      atoms.multiply(row, u, v);
      for (int i = 0; i < atoms.count; i += kWidth<Real>) {
        const Vec<Real> charge = load(atoms.charges + i);
        store<Real>(u + i, load(u + i) * charge);
        store<Real>(v + i, load(v + i) * charge);
      }
      for (int c = 0; c < row.count; c += 2) add_wave_sums(atoms, u, v, c, sums + kWaveSums * (row.first + c));
    }
  }
}

/// Sums over a row of p x - q y (real part) and r x + s y (imaginary part) for kTerms sets of factors p, q, r, s.
template <class Real, int kTerms, int kVectors>
inline __attribute__((always_inline)) void sum_row(const WavePowers<Real>& atoms, const WaveRow& row, const Real* factors, int i,
                                                   Vec<Real> (&re)[kTerms][kVectors], Vec<Real> (&im)[kTerms][kVectors]) {
  constexpr int kBlock = WavePowers<Real>::kBlock;
  for (int t = 0; t < kTerms; ++t)
    for (int k = 0; k < kVectors; ++k) re[t][k] = im[t][k] = Vec<Real>{};
  const Real* powers = atoms.of(2, 0) + i;
  for (int c = 0; c < row.count; ++c, powers += 2 * kBlock, factors += 4 * kTerms) {
    Vec<Real> x[kVectors], y[kVectors];
    for (int k = 0; k < kVectors; ++k) {
      x[k] = load(powers + k * kWidth<Real>);
      y[k] = load(powers + kBlock + k * kWidth<Real>);
    }
    for (int t = 0; t < kTerms; ++t)
      for (int k = 0; k < kVectors; ++k) {
        re[t][k] += factors[4 * t] * x[k];
        re[t][k] -= factors[4 * t + 1] * y[k];
        im[t][k] += factors[4 * t + 2] * x[k];
        im[t][k] += factors[4 * t + 3] * y[k];
      }
  }
}

template <class Real>
inline void add_to(Real* to, Vec<Real> value) {
  store<Real>(to, load(to) + value);
}

/// What a row brings to vectors of atoms from i on: eq. (81), and with forces (82) and the strain terms of (84).
template <class Real, bool kForces, int kVectors>
inline void add_row(const WavePowers<Real>& atoms, const WaveRow& row, const Real* factors, int i, const Real* u, const Real* v,
                    Real* moments) {
  constexpr int kTerms = kForces ? 5 : 1;
  Vec<Real> re[kTerms][kVectors], im[kTerms][kVectors];
  sum_row<Real, kTerms, kVectors>(atoms, row, factors, i, re, im);
  const Real a = static_cast<Real>(row.a), b = static_cast<Real>(row.b);
  for (int k = 0; k < kVectors; ++k) {
    const int at = i + k * kWidth<Real>;
    const Vec<Real> u_i = load(u + at), v_i = load(v + at);
    Real* to = moments + at;
    add_to<Real>(to, u_i * re[0][k] - v_i * im[0][k]);
    if constexpr (kForces) {
      const Vec<Real> sine = u_i * im[0][k] + v_i * re[0][k];
      const Vec<Real> strain = u_i * re[2][k] - v_i * im[2][k], strain_c = u_i * re[3][k] - v_i * im[3][k];
      add_to<Real>(to + kEwaldBlock, a * sine);
      add_to<Real>(to + 2 * kEwaldBlock, b * sine);
      add_to<Real>(to + 3 * kEwaldBlock, u_i * im[1][k] + v_i * re[1][k]);
      add_to<Real>(to + 4 * kEwaldBlock, (a * a) * strain);
      add_to<Real>(to + 5 * kEwaldBlock, (b * b) * strain);
      add_to<Real>(to + 6 * kEwaldBlock, u_i * re[4][k] - v_i * im[4][k]);
      add_to<Real>(to + 7 * kEwaldBlock, (a * b) * strain);
      add_to<Real>(to + 8 * kEwaldBlock, a * strain_c);
      add_to<Real>(to + 9 * kEwaldBlock, b * strain_c);
    }
  }
}

template <class Real, bool kForces>
inline void block_moments(const EwaldStep<Real>& step, const WavePowers<Real>& atoms, Real* moments) {
  // As many sums as the registers hold.
  constexpr int kVectors = kForces && kVectorBytes < 64 ? 1 : 2;
  constexpr int kFactors = kForces ? kWaveFactorsWithForces : kWaveFactors;
  alignas(64) Real u[kEwaldBlock], v[kEwaldBlock];
  for (int k = 0; k < (kForces ? kWaveMoments : 1) * kEwaldBlock; ++k) moments[k] = 0;
  for (int r = 0; r < step.num_rows; ++r) {
    const WaveRow& row = step.rows[r];
    atoms.multiply(row, u, v);
    for (int i = 0; i < atoms.count; i += kVectors * kWidth<Real>)
      add_row<Real, kForces, kVectors>(atoms, row, step.factors + kFactors * row.first, i, u, v, moments);
  }
}

template <class Real>
void ewald_atoms(const EwaldStep<Real>& step, int begin, int end, Real* scratch) {
  WavePowers<Real> atoms(step, scratch);
  Real* moments = scratch + WavePowers<Real>::size(step);
  for (int first = begin; first < end; first += kEwaldBlock) {
    const int last = first + kEwaldBlock < end ? first + kEwaldBlock : end;
    atoms.fill(step, first, last);
    if (step.forces)
      block_moments<Real, true>(step, atoms, moments);
    else
      block_moments<Real, false>(step, atoms, moments);
    for (int i = first; i < last; ++i)
      for (int k = 0; k < (step.forces ? kWaveMoments : 1); ++k)
        step.moments[kWaveMoments * std::int64_t{i} + k] = static_cast<double>(moments[k * kEwaldBlock + (i - first)]);
  }
}

}  // namespace SO3MD_CPU_NAMESPACE
