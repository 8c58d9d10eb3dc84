#include "physics/ewald_sum.h"

#include <algorithm>
#include <cmath>
#include <complex>
#include <numbers>

#include "common/formula.h"
#include "common/index.h"
#include "physics/sum_in_parts.h"

namespace so3md {

namespace {

using std::numbers::pi;

constexpr int kAtomsPerSumTask = 256;
constexpr int kEntriesPerTask = 512;

// Sums over atoms are made in shares, whose number the number of threads has no say in. Together they have at most so many numbers.
constexpr int kMostShares = 32;
constexpr std::int64_t kMostShareNumbers = 1 << 24;

int divide_up(int count, int by) { return (count + by - 1) / by; }

int count_shares(int n, std::int64_t entries) {
  const std::int64_t room = std::max<std::int64_t>(1, kMostShareNumbers / (kWaveSums * std::max<std::int64_t>(1, entries)));
  return static_cast<int>(std::min<std::int64_t>({kMostShares, room, divide_up(n, kEwaldBlock)}));
}

// Factors of x and y that make c^power times the sum of two conjugate structure factors, each with its weight, the real and the imaginary
// part of a row's sum: with A their sum and D their difference, A x + i D y, or D x + i A y for odd powers.
template <class Real>
void write_factors(std::complex<double> plus, std::complex<double> minus, int power, double c, Real* to) {
  const std::complex<double> sum = plus + minus, difference = plus - minus;
  const double scale = power == 0 ? 1.0 : power == 1 ? c : c * c;
  const std::complex<double> of_x = scale * (power == 1 ? difference : sum), of_y = scale * (power == 1 ? sum : difference);
  to[0] = static_cast<Real>(of_x.real());
  to[1] = static_cast<Real>(of_y.imag());
  to[2] = static_cast<Real>(of_x.imag());
  to[3] = static_cast<Real>(of_y.real());
}

}  // namespace

template <class Real>
void EwaldSum<Real>::evaluate(const EwaldAtoms& atoms, const Cell& cell, double num_atoms, HaloExchange& halo) {
  choose_waves(cell, num_atoms);
  set_turns(atoms);
  EwaldStep<Real> now = step(atoms);
  sum_waves(now, atoms.n);
  sum_in_parts(sums_, halo);
  set_factors(atoms.forces != nullptr);
  now.factors = factors_.data();
  now.moments = moments_.data();
  pool_.parallel_for(atoms.n, kEwaldBlock, [&](int begin, int end, int thread) {
    kernels_.atoms(now, begin, end, scratch_[index_of(thread)].data());
    add_moments(atoms, begin, end);
  });
}

template <class Real>
void EwaldSum<Real>::choose_waves(const Cell& cell, double num_atoms) {
  if (cell_ && *cell_ == cell && num_atoms_ == num_atoms) return;
  cell_ = cell;
  num_atoms_ = num_atoms;
  waves_ = make_wave_vectors(cell, sigma_, longest_wave_vector(num_atoms / cell.volume(), sigma_, accuracy_));
}

template <class Real>
void EwaldSum<Real>::set_turns(const EwaldAtoms& atoms) {
  turns_.resize(6 * index_of(atoms.n));
  pool_.parallel_for(atoms.n, kAtomsPerSumTask, [&](int begin, int end, int) {
    for (int i = begin; i < end; ++i) {
      const double* r = atoms.positions + 3 * index_of(i);
      const Vec3 fractional = multiply({r[0], r[1], r[2]}, cell_->inverse());
      for (std::size_t axis = 0; axis < 3; ++axis) {
        const double angle = 2.0 * pi * (fractional[axis] - std::floor(fractional[axis]));
        turns_[6 * index_of(i) + 2 * axis] = std::cos(angle);
        turns_[6 * index_of(i) + 2 * axis + 1] = std::sin(angle);
      }
    }
  });
}

template <class Real>
EwaldStep<Real> EwaldSum<Real>::step(const EwaldAtoms& atoms) const {
  EwaldStep<Real> out;
  out.rows = waves_.rows.data();
  out.num_rows = static_cast<int>(waves_.rows.size());
  std::copy(waves_.reach.begin(), waves_.reach.end(), out.reach);
  out.turns = turns_.data();
  out.charges = atoms.charges;
  out.forces = atoms.forces != nullptr;
  return out;
}

// Structure factors of the atoms of this process (eq. 80), of each share apart, and then added up in the order of the shares.
template <class Real>
void EwaldSum<Real>::sum_waves(const EwaldStep<Real>& step, int n) {
  for (auto& scratch : scratch_) scratch.resize(index_of(kernels_.scratch_size(step)));
  const std::size_t numbers = kWaveSums * index_of(waves_.num_entries());
  const int shares = count_shares(n, waves_.num_entries());
  shares_.assign(numbers * index_of(shares), 0.0);
  const int blocks = divide_up(n, kEwaldBlock);
  pool_.parallel_for(shares, 1, [&](int first, int last, int thread) {
    for (int share = first; share < last; ++share) {
      const int begin = static_cast<int>(std::int64_t{blocks} * share / shares) * kEwaldBlock;
      const int end = std::min(n, static_cast<int>(std::int64_t{blocks} * (share + 1) / shares) * kEwaldBlock);
      kernels_.waves(step, begin, end, shares_.data() + numbers * index_of(share), scratch_[index_of(thread)].data());
    }
  });
  sums_.assign(numbers, 0.0);
  pool_.parallel_for(static_cast<int>(waves_.num_entries()), kEntriesPerTask, [&](int begin, int end, int) {
    for (int share = 0; share < shares; ++share)
      for (std::size_t at = kWaveSums * index_of(begin); at < kWaveSums * index_of(end); ++at)
        sums_[at] += shares_[numbers * index_of(share) + at];
  });
}

// What atoms multiply their powers with: conjugate structure factors times weights, of potentials and forces by eq. (81) and (82), of
// strain terms by eq. (84).
template <class Real>
void EwaldSum<Real>::set_factors(bool forces) {
  const std::size_t stride = forces ? kWaveFactorsWithForces : kWaveFactors;
  factors_.resize(stride * index_of(waves_.num_entries()));
  pool_.parallel_for(static_cast<int>(waves_.rows.size()), 8, [&](int begin, int end, int) {
    for (int r = begin; r < end; ++r)
      for (int c = 0; c < waves_.rows[index_of(r)].count; ++c) {
        const std::size_t entry = index_of(waves_.rows[index_of(r)].first + c);
        const double *sums = sums_.data() + kWaveSums * entry, ux = sums[0], uy = sums[1], vx = sums[2], vy = sums[3];
        const std::complex<double> plus(ux - vy, -(uy + vx)), minus(ux + vy, -(vx - uy));  // conjugate
        const WaveWeights& w = waves_.weights[entry];
        Real* to = factors_.data() + stride * entry;
        write_factors(w.plus * plus, w.minus * minus, 0, c, to);
        if (!forces) continue;
        write_factors(w.plus * plus, w.minus * minus, 1, c, to + 4);
        for (int power = 0; power < 3; ++power) write_factors(w.strain_plus * plus, w.strain_minus * minus, power, c, to + 8 + 4 * power);
      }
  });
  moments_.resize(kWaveMoments * turns_.size() / 6);
}

// From multiples of reciprocal vectors to Cartesian components, and times the charge; less the charge's interaction with itself (eq. 79).
template <class Real>
void EwaldSum<Real>::add_moments(const EwaldAtoms& atoms, int begin, int end) {
  constexpr int kPlace[3][3] = {{0, 3, 4}, {3, 1, 5}, {4, 5, 2}};  // of aa, bb, cc, ab, ac, bc
  const Matrix3& inverse = cell_->inverse();
  const double self = 2.0 * kCoulomb / (sigma_ * std::sqrt(pi));
  for (int i = begin; i < end; ++i) {
    const double* moments = moments_.data() + kWaveMoments * index_of(i);
    const double charge = atoms.charges[i], waves = moments[0];
    atoms.potentials[i] = waves - self * charge;
    atoms.energies[i] += 0.5 * charge * atoms.potentials[i];
    if (atoms.forces == nullptr) continue;
    for (std::size_t x = 0; x < 3; ++x) {
      double force = 0.0;
      for (std::size_t j = 0; j < 3; ++j) force += inverse[x][j] * moments[1 + j];
      atoms.forces[3 * index_of(i) + x] += 2.0 * pi * charge * force;
      for (std::size_t y = 0; y < 3; ++y) {
        double strain = 0.0;
        for (std::size_t j = 0; j < 3; ++j)
          for (std::size_t l = 0; l < 3; ++l) strain += inverse[x][j] * inverse[y][l] * moments[4 + kPlace[j][l]];
        atoms.virials[9 * index_of(i) + 3 * x + y] += charge * (4.0 * pi * pi * strain - (x == y ? 0.5 * waves : 0.0));
      }
    }
  }
}

template class EwaldSum<float>;
template class EwaldSum<double>;

}  // namespace so3md
