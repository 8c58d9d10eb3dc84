// What the network of the architecture so3krates-2022 asks of a processor: the hot loops, as a table of functions that csrc/cpu fills for
// every instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

#include "network/kernels.h"
#include "paper2022/parameters.h"

namespace so3md::paper2022 {

inline constexpr int kLargestChiBlock = 32;  ///< atoms

/// Bytes that may be read behind the last atom of a column.
inline constexpr int kColumnPadding = 256;

/// Radius in the space of chi of an atom that takes nothing: far below any.
inline constexpr double kNoRadius = -1e30;
inline constexpr int kMostCoordinates = kMaxDegrees * kMaxDegrees;

/// The nearest image of a vector r in a cell that repeats: in a cell of the shortest vectors, it is
/// r - (nearest integers of r . inverse) . vectors, or that plus one of the `others`.
struct MinimumImage {
  bool any = false;
  bool periodic[3] = {};
  double vectors[3][3] = {}, inverse[3][3] = {};
  int num_others = 0;  ///< 0 in rectangular cells
  double others[26][3] = {};
};

/// Coordinates before the first layer (eq. 59 of docs/theory.md). Rows by slot.
template <class Real>
struct InitialStep {
  const Layout* layout = nullptr;
  const HarmonicsTable<Real>* harmonics = nullptr;
  EdgeView<Real> edges;
  Real* chi = nullptr;
  Real* weight = nullptr;  ///< sum of the cutoff function over the neighbours

  const Real* gradient = nullptr;  ///< adjoint: dE/dchi
  double* forces = nullptr;        ///< owned rows [3], added to
  double* virial = nullptr;        ///< owned rows [9], added to
};

/// One layer of one evaluation. Rows by slot (owned atoms first) unless stated.
///
/// Attention in the space of chi (eq. 64, 65) couples i to j with f = p6(u), u = exp(Delta_ij - radius_i), where Delta_ij is the distance
/// in that space and radius_i = ln(c Z_i) with Z_i = sum_j exp(Delta_ij): the softmax over its cutoff c is u, and pairs with Delta_ij >=
/// radius_i have no weight.
template <class Real>
struct LayerStep {
  const Layout* layout = nullptr;
  const LayerParameters<Real>* parameters = nullptr;
  const Parameters<Real>* all_parameters = nullptr;
  const HarmonicsTable<Real>* harmonics = nullptr;
  EdgeView<Real> edges;

  const Real* x = nullptr;           ///< owned rows: input of the layer
  const Real* chi = nullptr;         ///< input coordinates
  const Real* projection = nullptr;  ///< [q, k, v, q', k'] of the input
  const double* radius = nullptr;    ///< null: no attention in the space of chi
  Real* sum_features = nullptr;      ///< owned rows [features_padded]: sums of value vectors
  Real* sum_chi = nullptr;           ///< owned rows [chi_stride]: sums of harmonics
  Real* x_attended = nullptr;        ///< owned rows: x + attention
  Real* chi_attended = nullptr;      ///< owned rows: chi + attention
  Real* x_next = nullptr;            ///< owned rows: output of the layer
  Real* chi_next = nullptr;          ///< owned rows: output coordinates

  Real* gradient_x = nullptr;             ///< owned rows: dE/dx, of the output before node_adjoint, of the input after project_adjoint
  Real* gradient_chi = nullptr;           ///< owned rows: likewise for chi
  Real* gradient_attended = nullptr;      ///< dE/d(x_attended), head layout
  Real* gradient_chi_attended = nullptr;  ///< dE/d(chi_attended)
  Real* gradient_projection = nullptr;    ///< owned rows: dE/d(projection)
  double* gradient_softmax = nullptr;     ///< owned rows: sum_j u_ij dE/du_ij
  double* forces = nullptr;               ///< owned rows [3], added to
  double* virial = nullptr;               ///< owned rows [9], added to; half of each pair's d (x) dE/dd
};

/// Atoms that are close in the space of chi, and the box around them there.
struct ChiBlock {
  int begin = 0, end = 0;  ///< places in the order of NonlocalStep
};

/// Two blocks of a system, or one with itself: every pair of an atom of one and an atom of the other, once.
struct ChiBlockPair {
  int first = 0, second = 0;            ///< blocks
  const MinimumImage* image = nullptr;  ///< of the system
};

/// Columns of the sums that an atom gets from the adjoint beside gradients of its rows.
struct PairSums {
  static constexpr int force = 0, virial = 3, softmax = 12, size = 16;
};

/// Where parts begin in a row of NonlocalStep::sums.
struct NonlocalSums {
  int query_key = 0, chi = 0, pairs = 0, width = 0;
};

/// Forward: sums of harmonics.
[[gnu::always_inline]] inline NonlocalSums forward_sums(const Layout& layout) { return {0, 0, layout.chi_stride, layout.chi_stride}; }

/// The adjoint: gradients of [q', k'], but not `by_species`, and of chi, and PairSums.
[[gnu::always_inline]] inline NonlocalSums adjoint_sums(const Layout& layout, bool by_species) {
  const int chi = by_species ? 0 : 2 * layout.coordinates_padded, pairs = chi + layout.chi_stride;
  return {0, chi, pairs, pairs + PairSums::size};
}

/// An owned atom as the centre of pairs with all others of its system.
struct NonlocalCentre {
  int owned = 0;                        ///< row of its results
  int place = 0;                        ///< in the order of NonlocalStep
  int first_place = 0, last_place = 0;  ///< of its system
};

/// What queries and keys of two species make of the hidden values of the spherical filter (SpeciesProducts).
template <class Real>
struct SpeciesRows {
  const Real* rows = nullptr;  ///< [centre's species][other's species]: [degree][hidden value], then a constant for each degree; or null
  int count = 0;               ///< of species
  int stride = 0;
};

/// Attention in the space of chi beyond the cutoff. All atoms of all processes stand in an order in which neighbours are close in that
/// space; "place" is a number in it. Rows by place unless stated.
template <class Real>
struct NonlocalStep {
  LayerStep<Real> layer;  ///< of the owned atoms
  const NonlocalCentre* centres = nullptr;
  const ChiBlock* blocks = nullptr;
  const Real* box_low = nullptr;        ///< [blocks][chi_stride]
  const Real* box_high = nullptr;       ///< [blocks][chi_stride]
  const Real* block_ball = nullptr;     ///< [blocks] largest `ball` of its atoms
  const ChiBlockPair* pairs = nullptr;  ///< of blocks; no block stands in two of those that are given at once
  bool skip = true;                     ///< blocks that are outside of all balls

  const int* owned = nullptr;         ///< row among those of this process, or -1
  const int* row = nullptr;           ///< number of the atom among those of all processes
  const int* row_of_slot = nullptr;   ///< of the domain's slots
  const double* positions = nullptr;  ///< [3]
  double cutoff = 0.0;                ///< of distances, A
  const Real* chi = nullptr;          ///< [chi_stride]
  const Real* chi_columns = nullptr;  ///< [coordinate][column_stride], zero for kColumnPadding bytes behind the last place
  std::ptrdiff_t column_stride = 0;
  const Real* query_key = nullptr;              ///< [q', k']
  SpeciesRows<Real> by_species;                 ///< the first layer only: instead of query_key
  const int* species = nullptr;                 ///< numbers in by_species
  const Real* ball = nullptr;                   ///< radius; kNoRadius forward for atoms of other processes. Padded as chi_columns
  const Real* gradient_softmax = nullptr;       ///< the adjoint of the normalisers only. Padded as chi_columns
  const Real* gradient_chi_attended = nullptr;  ///< the adjoint only

  double* sums = nullptr;             ///< what atoms get from pairs, added to: rows as forward_sums() or adjoint_sums() has them
  double* log_sum = nullptr;          ///< normalisers: owned rows, ln Z
  std::int64_t* evaluated = nullptr;  ///< [places] by any of the atoms: directed pairs of owned atoms with filters, added to
  std::int64_t* measured = nullptr;   ///< likewise: those whose distances in the space of chi were computed
};

/// Ranges are of owned atoms unless stated; `scratch` belongs to the calling thread and has scratch_size() numbers.
template <class Real>
struct KernelTable {
  std::size_t (*scratch_size)(const Parameters<Real>&) = nullptr;
  void (*initial_forward)(const InitialStep<Real>&, int begin, int end, Real* scratch) = nullptr;
  void (*initial_adjoint)(const InitialStep<Real>&, int begin, int end, Real* scratch) = nullptr;
  void (*project)(const LayerStep<Real>&, int begin, int end, Real* projection) = nullptr;  ///< of slots
  void (*attention_forward)(const LayerStep<Real>&, int begin, int end, Real* scratch) = nullptr;
  void (*attention_adjoint)(const LayerStep<Real>&, int begin, int end, Real* scratch) = nullptr;
  void (*node_forward)(const LayerStep<Real>&, int begin, int end, Real* scratch) = nullptr;
  void (*node_adjoint)(const LayerStep<Real>&, int begin, int end, Real* scratch) = nullptr;
  void (*project_adjoint)(const LayerStep<Real>&, int begin, int end, Real* scratch) = nullptr;
  void (*readout_forward)(const Parameters<Real>&, const Real* x, int begin, int end, double* energy, Real* scratch) = nullptr;
  void (*readout_adjoint)(const Parameters<Real>&, const Real* x, int begin, int end, const double* gradient, Real* gradient_x,
                          Real* scratch) = nullptr;

  // Ranges of centres.
  void (*normalise)(const NonlocalStep<Real>&, int begin, int end, Real* scratch) = nullptr;
  void (*normalise_adjoint)(const NonlocalStep<Real>&, int begin, int end, Real* scratch) = nullptr;
  // Ranges of pairs of blocks.
  void (*nonlocal_forward)(const NonlocalStep<Real>&, int begin, int end, Real* scratch) = nullptr;
  void (*nonlocal_adjoint)(const NonlocalStep<Real>&, int begin, int end, Real* scratch) = nullptr;
};

/// The kernels for the instruction set that so3md::kernels() uses.
template <class Real>
const KernelTable<Real>& kernels();

}  // namespace so3md::paper2022
