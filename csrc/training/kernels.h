// What the loops of a training step are given and what they return. A step goes through the network four times, see
// python/so3md/training/node_steps.py: forward, adjoint, tangent and gradient. The structures of a batch are divided into groups, each of
// which goes through all sweeps by itself.
#pragma once

#include <cstddef>
#include <cstdint>

#include "network/kernels.h"
#include "training/shape.h"

namespace so3md::training {

/// Where a tensor lies, and where in the vector of all gradients its own begins. All arrays are laid out as those of PyTorch.
template <class Real>
struct Parameter {
  const Real* value = nullptr;
  std::int64_t gradient = 0;
};

/// y = x W^T + b for rows of x. W is kept in panels of columns, see `pack`, for both directions.
template <class Real>
struct Matrix {
  std::int64_t depth = 0, columns = 0;  ///< lengths of x and y
  Parameter<Real> weight, bias;         ///< bias.value: null if there is none
  Real* forward = nullptr;              ///< depth to columns
  Real* backward = nullptr;             ///< columns to depth
};

/// Matrices of the heads, eq. (18), (heads, width, kinds, width): of queries, keys and so on.
template <class Real>
struct Projection {
  std::int64_t heads = 0, width = 0, kinds = 0;
  Parameter<Real> weight;
  Real* forward = nullptr;  ///< one packed matrix for each head and kind
  Real* backward = nullptr;
};

template <class Real>
struct Norm {
  Parameter<Real> scale, bias;
};

/// One layer. Pairs of things: of the feature and the coordinate block, or the first and the second of the layer.
template <class Real>
struct LayerWeights {
  Matrix<Real> radial1[2], radial2[2], spherical1[2], spherical2[2];
  Projection<Real> projection[2];
  Norm<Real> norm[2];
  Matrix<Real> residual[2][3];
  Matrix<Real> exchange;
};

/// The embedding of the elements (elements, features), and the energy head: one map, or two with an activation between them.
template <class Real>
struct EnergyWeights {
  Parameter<Real> embedding, scale;
  std::int64_t hidden = 0;  ///< values after the first map; 0: there is but the second
  Activation activation = Activation::silu;
  Matrix<Real> dense1, dense2;
};

template <class Real>
struct Weights {
  Shape shape;
  const LayerWeights<Real>* layers = nullptr;
  Norm<Real> final_norm;
  EnergyWeights<Real> energy;  ///< for energies and forces only
};

/// The structures of a group: their atoms are numbered from zero. Pairs are those of python/so3md/training/batches.py.
template <class Real>
struct Group {
  std::int64_t atoms = 0, pairs = 0;
  const std::int64_t *first = nullptr, *second = nullptr;
  const Real *basis = nullptr, *basis_slope = nullptr;  ///< (pairs, basis)
  const Real* phi = nullptr;                            ///< (pairs)
  const Real* harmonics = nullptr;                      ///< (pairs, coordinates)

  // For energies and forces only:
  const std::int64_t* species = nullptr;  ///< (atoms)
  const Real* unit = nullptr;             ///< (pairs, 3)
  const Real* phi_slope = nullptr;        ///< (pairs)
  const Real* harmonics_by = nullptr;     ///< (pairs, coordinates, 3) gradients with respect to the displacement
};

/// Derivatives of the energy with respect to what a group is given, or those along a direction: (pairs), (pairs), (pairs, coordinates).
template <class Number>
struct PairValues {
  Number *distance = nullptr, *phi = nullptr, *harmonics = nullptr;
};

/// The kernels for one instruction set. steps: memory of a group, of the size that `memory` says and aligned to a cache line.
template <class Real>
struct KernelTable {
  /// Puts a matrix (depth, columns) with elements from[k * row_stride + c * column_stride] into panels, filled up with zeros.
  void (*pack)(std::int64_t depth, std::int64_t columns, const Real* from, std::int64_t row_stride, std::int64_t column_stride,
               Real* packed);
  std::size_t (*memory)(const Weights<Real>& weights, const Group<Real>& group);
  /// From features x (atoms, features) of the embedding to those after the last layer.
  void (*forward)(const Weights<Real>& weights, const Group<Real>& group, void* steps, const Real* x, Real* out);
  void (*adjoint)(void* steps, const Real* by_out, const PairValues<Real>& result);
  void (*tangent)(void* steps, const PairValues<const Real>& direction, Real* out);
  /// by_basis (pairs, basis) and its slope are added to, if they are not null; `gradients` of all parameters too.
  void (*gradient)(void* steps, const Real* by_out, Real* by_x, Real* by_basis, Real* by_basis_slope, Real* gradients);

  // Energies and forces, in place of the four sweeps. The energy is the sum of those of the atoms.
  std::size_t (*energy_memory)(const Weights<Real>& weights, const Group<Real>& group);
  /// energies (atoms) without the constants of the elements, forces (atoms, 3).
  void (*evaluate)(const Weights<Real>& weights, const Group<Real>& group, void* steps, Real* energies, Real* forces);
  /// Adds to `gradients` those of a function of energies and forces with these derivatives.
  void (*differentiate)(void* steps, const Real* by_energies, const Real* by_forces, Real* gradients);

  /// to += from.
  void (*add)(std::int64_t count, const Real* from, Real* to);
  /// Harmonics (pairs, coordinates) of displacements (pairs, 3), and gradients (pairs, coordinates, 3) with respect to these.
  void (*harmonics)(const Layout& layout, const HarmonicsTable<double>& table, std::int64_t pairs, const double* displacement, Real* values,
                    Real* gradients);
};

/// Those for the instruction set of the other kernels.
template <class Real>
const KernelTable<Real>& kernels();

}  // namespace so3md::training
