#include "physics/ewald_mesh.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "common/formula.h"
#include "common/index.h"
#include "physics/mesh_spline.h"
#include "physics/sum_in_parts.h"

namespace so3md {

namespace {

using std::numbers::pi;

constexpr int kAtomsPerMeshTask = 64;
constexpr std::size_t kRow[6] = {0, 1, 2, 0, 0, 1}, kColumn[6] = {0, 1, 2, 1, 2, 2};  // of strain components

// Multiples of a reciprocal vector by their place in a spectrum: those beyond half of the points are negative.
int multiple(int place, int points) { return 2 * place > points ? place - points : place; }

// W^2 / (sum over aliases of W^2)^2, where W = sinc(m/points)^order is the transform of a spline: with it the mesh is nearest to the waves
// (B in docs/theory.md, section 11). None for the wave of half of the points, which is its own alias.
double correction(int m, int points, int order) {
  if (2 * std::abs(m) >= points) return 0.0;
  if (m == 0) return 1.0;
  constexpr int kAliases = 4;
  const double x = static_cast<double>(m) / points;
  double aliases = 0.0;  // relative to the wave itself
  for (int alias = -kAliases; alias <= kAliases; ++alias)
    if (alias != 0) aliases += std::pow(x / (x + alias), 2 * order);
  const double own = std::pow(std::sin(pi * x) / (pi * x), 2 * order);
  return 1.0 / (own * (1.0 + aliases) * (1.0 + aliases));
}

// The `order` numbers of a periodic row that end with number `base`; copied to `room` where the end of the row lies between.
template <int order>
const double* window(const double* row, int points, int base, double* room) {
  const int first = base - (order - 1);
  if (first >= 0) return row + first;
  for (int l = 0; l < order; ++l) room[l] = row[first + l < 0 ? first + l + points : first + l];
  return room;
}

int wrapped(int place, int points) { return place < 0 ? place + points : place; }

}  // namespace

void EwaldMesh::evaluate(const EwaldAtoms& atoms, const Cell& cell, const MeshSize& size, double num_atoms, HaloExchange& halo) {
  prepare(cell, size);
  place(atoms);
  sort_by_plane();
  spread(atoms);
  sum_in_parts(mesh_, halo);
  fourier_.forward(mesh_.data(), charges_.data());
  multiply_by_weights();
  fourier_.backward(product_.data(), mesh_.data());
  with_spline_order(size_.order, [&](auto order) {
    pool_.parallel_for(atoms.n, kAtomsPerMeshTask, [&](int begin, int end, int) { gather<order.value>(atoms, begin, end); });
  });
  if (atoms.forces == nullptr) return;
  if (atoms.atomic_virials)
    add_atomic_virials(atoms);
  else
    add_mean_virial(atoms, num_atoms);
}

void EwaldMesh::prepare(const Cell& cell, const MeshSize& size) {
  if (cell_ && *cell_ == cell && size_.points == size.points && size_.order == size.order) return;
  cell_ = cell;
  size_ = size;
  fourier_.resize(size.points);
  mesh_.resize(fourier_.size());
  charges_.resize(fourier_.spectrum_size());
  product_.resize(charges_.size());
  for (std::size_t axis = 0; axis < 3; ++axis) {
    const int points = size.points[axis];
    corrections_[axis].clear();
    for (int place = 0; place < points; ++place) corrections_[axis].push_back(correction(multiple(place, points), points, size.order));
  }
  set_weights();
}

// --- waves ----------------------------------------------------------------------------------------------------------

Vec3 EwaldMesh::wave(int i, int j, int k) const {
  const double a = multiple(i, size_.points[0]), b = multiple(j, size_.points[1]), c = k;
  Vec3 out;
  for (std::size_t x = 0; x < 3; ++x)
    out[x] = 2.0 * pi * (a * cell_->inverse()[x][0] + b * cell_->inverse()[x][1] + c * cell_->inverse()[x][2]);
  return out;
}

// Calls `body` with the place of each row of waves in a spectrum, and its i and j; a plane of rows is one thread's.
template <class Body>
void EwaldMesh::for_rows(const Body& body) const {
  pool_.parallel_for(size_.points[0], 1, [&](int begin, int end, int) {
    std::size_t row = index_of(begin) * index_of(size_.points[1]) * index_of(fourier_.half());
    for (int i = begin; i < end; ++i)
      for (int j = 0; j < size_.points[1]; ++j, row += index_of(fourier_.half())) body(row, i, j);
  });
}

void EwaldMesh::set_weights() {
  weights_.resize(charges_.size());
  for_rows([&](std::size_t row, int i, int j) { set_row_weights(i, j, weights_.data() + row); });
}

void EwaldMesh::set_row_weights(int i, int j, double* weights) const {
  const double factor = 4.0 * pi * kCoulomb / cell_->volume() * corrections_[0][index_of(i)] * corrections_[1][index_of(j)];
  for (int k = 0; k < fourier_.half(); ++k) {
    const Vec3 k_vector = wave(i, j, k);
    const double square = k_vector[0] * k_vector[0] + k_vector[1] * k_vector[1] + k_vector[2] * k_vector[2];
    const bool none = i == 0 && j == 0 && k == 0;
    weights[k] = none ? 0.0 : factor * corrections_[2][index_of(k)] * std::exp(-0.25 * sigma_ * sigma_ * square) / square;
  }
}

// k_a k_b (1/k^2 + s^2/4).
double EwaldMesh::strain_factor(const Vec3& wave, std::size_t component) const {
  const double square = wave[0] * wave[0] + wave[1] * wave[1] + wave[2] * wave[2];
  return square == 0.0 ? 0.0 : wave[kRow[component]] * wave[kColumn[component]] * (1.0 / square + 0.25 * sigma_ * sigma_);
}

void EwaldMesh::multiply_by_weights() {
  const std::size_t plane = index_of(size_.points[1]) * index_of(fourier_.half());
  pool_.parallel_for(size_.points[0], 1, [&](int begin, int end, int) {
    for (std::size_t at = index_of(begin) * plane; at < index_of(end) * plane; ++at) product_[at] = weights_[at] * charges_[at];
  });
}

// eq. (84) of the mesh, whose waves change with a strain as others do, while fractional coordinates and splines stay.
EwaldMesh::Strain EwaldMesh::virial_of_waves() const {
  std::vector<Strain> planes(index_of(size_.points[0]), Strain{});
  for_rows([&](std::size_t row, int i, int j) {
    for (int k = 0; k < fourier_.half(); ++k) {
      const std::size_t at = row + index_of(k);
      if (weights_[at] == 0.0) continue;
      const Vec3 k_vector = wave(i, j, k);
      const double term = (k == 0 ? 0.5 : 1.0) * weights_[at] * std::norm(charges_[at]);  // of a wave and its conjugate
      for (std::size_t c = 0; c < 6; ++c) planes[index_of(i)][c] += term * (2.0 * strain_factor(k_vector, c) - (c < 3 ? 1.0 : 0.0));
    }
  });
  Strain sum{};
  for (const Strain& plane : planes)
    for (std::size_t c = 0; c < 6; ++c) sum[c] += plane[c];
  return sum;
}

// --- charges to the mesh --------------------------------------------------------------------------------------------

void EwaldMesh::place(const EwaldAtoms& atoms) {
  const std::size_t order = index_of(size_.order);
  base_.resize(3 * index_of(atoms.n));
  fraction_.resize(base_.size());
  splines_.resize(order * base_.size());
  with_spline_order(size_.order, [&](auto constant) {
    pool_.parallel_for(atoms.n, kAtomsPerMeshTask, [&](int begin, int end, int) {
      for (int atom = begin; atom < end; ++atom) {
        const double* r = atoms.positions + 3 * index_of(atom);
        const Vec3 fractional = multiply({r[0], r[1], r[2]}, cell_->inverse());
        for (std::size_t axis = 0; axis < 3; ++axis) {
          const std::size_t row = 3 * index_of(atom) + axis;
          double wrapped_coordinate = fractional[axis] - std::floor(fractional[axis]);
          if (wrapped_coordinate >= 1.0) wrapped_coordinate = 0.0;  // by rounding
          const double scaled = wrapped_coordinate * size_.points[axis];
          // What is no number has a place, and makes the sum what it is.
          base_[row] = scaled > 0.0 ? std::min(static_cast<int>(scaled), size_.points[axis] - 1) : 0;
          fraction_[row] = scaled - base_[row];
          spline_weights<constant.value>(fraction_[row], splines_.data() + order * row);
        }
      }
    });
  });
}

// Atoms by the plane of points of their base, each in the order of atoms.
void EwaldMesh::sort_by_plane() {
  const std::size_t n = base_.size() / 3;
  first_in_plane_.assign(index_of(size_.points[0]) + 1, 0);
  for (std::size_t atom = 0; atom < n; ++atom) ++first_in_plane_[index_of(base_[3 * atom]) + 1];
  for (std::size_t plane = 1; plane < first_in_plane_.size(); ++plane) first_in_plane_[plane] += first_in_plane_[plane - 1];
  by_plane_.resize(n);
  std::vector<int> next(first_in_plane_.begin(), first_in_plane_.end() - 1);
  for (std::size_t atom = 0; atom < n; ++atom) by_plane_[index_of(next[index_of(base_[3 * atom])]++)] = static_cast<int>(atom);
}

// A plane of points is one thread's, which adds the atoms near it in a fixed order.
void EwaldMesh::spread(const EwaldAtoms& atoms) {
  std::vector<std::vector<double>> buffers(index_of(pool_.size()));
  with_spline_order(size_.order, [&](auto order) {
    pool_.parallel_for(size_.points[0], 1, [&](int begin, int end, int thread) {
      for (int plane = begin; plane < end; ++plane) fill_plane<order.value>(atoms, plane, buffers[index_of(thread)]);
    });
  });
}

template <int order>
void EwaldMesh::fill_plane(const EwaldAtoms& atoms, int plane, std::vector<double>& buffer) {
  // With room for what reaches over the edges, which is brought back at the end.
  constexpr int kMargin = order - 1;
  const int rows = size_.points[1], columns = size_.points[2], width = columns + kMargin;
  buffer.assign(index_of(rows + kMargin) * index_of(width), 0.0);
  for (int behind = 0; behind < order; ++behind) {
    const int from = plane + behind < size_.points[0] ? plane + behind : plane + behind - size_.points[0];
    for (int at = first_in_plane_[index_of(from)]; at < first_in_plane_[index_of(from) + 1]; ++at) {
      const std::size_t atom = index_of(by_plane_[index_of(at)]);
      const double* spline = splines_.data() + 3 * order * atom;
      const double charge = atoms.charges[atom] * spline[order - 1 - behind];
      const int* base = base_.data() + 3 * atom;
      for (int y = 0; y < order; ++y) {
        double* to = buffer.data() + index_of(base[1] + y) * index_of(width) + base[2];
        const double share = charge * spline[order + y];
        for (int z = 0; z < order; ++z) to[z] += share * spline[2 * order + z];
      }
    }
  }
  double* mesh = mesh_.data() + index_of(plane) * index_of(rows) * index_of(columns);
  std::fill_n(mesh, index_of(rows) * index_of(columns), 0.0);
  for (int y = 0; y < rows + kMargin; ++y) {
    const double* from = buffer.data() + index_of(y) * index_of(width);
    double* to = mesh + index_of(wrapped(y - kMargin, rows)) * index_of(columns);
    for (int z = 0; z < kMargin; ++z) to[columns - kMargin + z] += from[z];
    for (int z = 0; z < columns; ++z) to[z] += from[kMargin + z];
  }
}

// --- and back to the atoms ------------------------------------------------------------------------------------------

template <int order>
void EwaldMesh::gather(const EwaldAtoms& atoms, int begin, int end) const {
  const double self = 2.0 * kCoulomb / (sigma_ * std::sqrt(pi));
  const auto& points = size_.points;
  const Matrix3& inverse = cell_->inverse();
  for (int atom = begin; atom < end; ++atom) {
    const int* base = base_.data() + 3 * index_of(atom);
    double weights[3][order], slopes[3][order], room[order];
    for (std::size_t axis = 0; axis < 3; ++axis) spline_weights<order>(fraction_[3 * index_of(atom) + axis], weights[axis], slopes[axis]);
    // Along the last direction first values, then those with slopes along the first and the second.
    double value[order] = {}, slope_x[order] = {}, slope_y[order] = {};
    for (int x = 0; x < order; ++x) {
      const std::size_t plane = index_of(wrapped(base[0] - (order - 1) + x, points[0])) * index_of(points[1]);
      double line[order] = {}, slope[order] = {};
      for (int y = 0; y < order; ++y) {
        const std::size_t row = plane + index_of(wrapped(base[1] - (order - 1) + y, points[1]));
        const double* from = window<order>(mesh_.data() + row * index_of(points[2]), points[2], base[2], room);
        for (int z = 0; z < order; ++z) line[z] += weights[1][y] * from[z];
        for (int z = 0; z < order; ++z) slope[z] += slopes[1][y] * from[z];
      }
      for (int z = 0; z < order; ++z) {
        value[z] += weights[0][x] * line[z];
        slope_x[z] += slopes[0][x] * line[z];
        slope_y[z] += weights[0][x] * slope[z];
      }
    }
    double potential = 0.0, gradient[3] = {};
    for (int z = 0; z < order; ++z) {
      potential += weights[2][z] * value[z];
      gradient[0] += weights[2][z] * slope_x[z];
      gradient[1] += weights[2][z] * slope_y[z];
      gradient[2] += slopes[2][z] * value[z];
    }
    const double charge = atoms.charges[atom];
    atoms.potentials[atom] = potential - self * charge;
    atoms.energies[atom] += 0.5 * charge * atoms.potentials[atom];
    if (atoms.forces == nullptr) continue;
    for (std::size_t a = 0; a < 3; ++a)
      for (std::size_t axis = 0; axis < 3; ++axis)
        atoms.forces[3 * index_of(atom) + a] -= charge * inverse[a][axis] * points[axis] * gradient[axis];
  }
}

template <int order>
double EwaldMesh::interpolate(int atom) const {
  const auto& points = size_.points;
  const int* base = base_.data() + 3 * index_of(atom);
  const double* spline = splines_.data() + 3 * order * index_of(atom);
  double value[order] = {}, room[order], sum = 0.0;
  for (int x = 0; x < order; ++x) {
    const std::size_t plane = index_of(wrapped(base[0] - (order - 1) + x, points[0])) * index_of(points[1]);
    for (int y = 0; y < order; ++y) {
      const std::size_t row = plane + index_of(wrapped(base[1] - (order - 1) + y, points[1]));
      const double* from = window<order>(mesh_.data() + row * index_of(points[2]), points[2], base[2], room);
      const double factor = spline[x] * spline[order + y];
      for (int z = 0; z < order; ++z) value[z] += factor * from[z];
    }
  }
  for (int z = 0; z < order; ++z) sum += spline[2 * order + z] * value[z];
  return sum;
}

// Each component is a field of its own. The part with the potential comes from the energies.
void EwaldMesh::add_atomic_virials(const EwaldAtoms& atoms) {
  const double self = 2.0 * kCoulomb / (sigma_ * std::sqrt(pi));
  for (std::size_t component = 0; component < 6; ++component) {
    for_rows([&](std::size_t row, int i, int j) {
      for (int k = 0; k < fourier_.half(); ++k) {
        const std::size_t at = row + index_of(k);
        product_[at] = weights_[at] * strain_factor(wave(i, j, k), component) * charges_[at];
      }
    });
    fourier_.backward(product_.data(), mesh_.data());
    const std::size_t at = 3 * kRow[component] + kColumn[component], mirrored = 3 * kColumn[component] + kRow[component];
    with_spline_order(size_.order, [&](auto order) {
      pool_.parallel_for(atoms.n, kAtomsPerMeshTask, [&](int begin, int end, int) {
        for (int atom = begin; atom < end; ++atom) {
          const double charge = atoms.charges[atom], strain = charge * interpolate<order.value>(atom);
          double* virial = atoms.virials + 9 * index_of(atom);
          virial[at] += strain - (component < 3 ? 0.5 * charge * (atoms.potentials[atom] + self * charge) : 0.0);
          if (component >= 3) virial[mirrored] += strain;
        }
      });
    });
  }
}

// The same for each atom, of all processes.
void EwaldMesh::add_mean_virial(const EwaldAtoms& atoms, double num_atoms) const {
  const Strain sum = virial_of_waves();
  for (int atom = 0; atom < atoms.n; ++atom)
    for (std::size_t component = 0; component < 6; ++component) {
      double* virial = atoms.virials + 9 * index_of(atom);
      virial[3 * kRow[component] + kColumn[component]] += sum[component] / num_atoms;
      if (component >= 3) virial[3 * kColumn[component] + kRow[component]] += sum[component] / num_atoms;
    }
}

}  // namespace so3md
