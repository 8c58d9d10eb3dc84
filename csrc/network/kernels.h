// What the network asks of a processor: the hot loops, as a table of functions that csrc/cpu fills for every instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

#include "network/pair_blocks.h"
#include "network/parameters.h"
#include "physics/ewald.h"
#include "physics/long_range.h"

namespace so3md {

/// Directed short-range edges of the owned atoms: those of atom i are first[i] .. first[i] + count[i] - 1.
template <class Real>
struct EdgeView {
  const std::int64_t* first = nullptr;  ///< [owned] of the edges of an atom
  const int* count = nullptr;
  const std::int64_t* first_pair = nullptr;                ///< [owned] edges that are evaluated where they stand, before those of an atom
  const int* slot = nullptr;                               ///< of the neighbour
  const int* row = nullptr;                                ///< of the neighbour in the centre's block (PairBlocks::rows)
  const Real *ux = nullptr, *uy = nullptr, *uz = nullptr;  ///< unit vector from the centre to the neighbour
  const double* r = nullptr;                               ///< distance, A; bonds are stiff: rounding it to float costs 1e-5 eV/A
  const Real *cutoff = nullptr, *cutoff_derivative = nullptr;  ///< phi(r) and dphi/dr
};

/// Prefactors of the real spherical harmonics, sqrt((2l+1)/(4 pi) (l-m)!/(l+m)!) and sqrt(2) times that for m > 0.
template <class Real>
struct HarmonicsTable {
  int max_degree = 0;
  Real prefactor[kMaxDegrees][kMaxDegrees] = {};
};

/// First layer of a model whose atoms start with features that depend on the element alone and with chi = 0: each attention weight is
/// a function of the distance for an ordered pair of species.
template <class Real>
struct FirstLayer {
  int num_species = 0;
  int stride = 0;                       ///< numbers of one spline row: heads, then degrees, padded
  const Real* const* tables = nullptr;  ///< [species of i][species of j]: spline rows, with the normalisers; null for absent pairs
  const Real* values = nullptr;         ///< [species][features_padded] value vectors
  const int* species = nullptr;         ///< by slot
};

/// Blocks of pairs, and rows for what a block adds to owned atoms of other blocks.
template <class Real>
struct RimView {
  const PairBlock* blocks = nullptr;
  const int* slots = nullptr;           ///< [rim rows] atom that a row is for
  const int* gathered_first = nullptr;  ///< [n_owned + 1]
  const int* gathered = nullptr;        ///< rim rows of an atom
  Real* features = nullptr;             ///< forward: sums of value vectors [features_padded]; adjoint: dE/dx [feature_stride]
  Real* chi = nullptr;                  ///< [chi_stride] sums of harmonics; adjoint: dE/dchi
  double* forces = nullptr;             ///< [3]
  double* virial = nullptr;             ///< [9]
};

/// One layer of one evaluation. Rows by slot (owned atoms first) unless stated.
template <class Real>
struct LayerStep {
  const Layout* layout = nullptr;
  const LayerParameters<Real>* parameters = nullptr;
  const RadialFunctions* radial_functions = nullptr;
  const HarmonicsTable<Real>* harmonics = nullptr;
  EdgeView<Real> edges;
  RimView<Real> rim;
  const FirstLayer<Real>* first_layer = nullptr;  ///< null: general layer
  const int* species = nullptr;                   ///< by slot
  const Real* embedded = nullptr;                 ///< [species][feature_stride] what is mixed into x_next; null: nothing

  const Real* x = nullptr;           ///< owned rows: input of the layer
  Real* x_next = nullptr;            ///< owned rows: output of the layer; may be x itself where nothing needs the input later
  const Real* projected = nullptr;   ///< what the projections act on: x, or x after a norm
  const Real* projection = nullptr;  ///< [q, k, v, q', k'] of the input, Layout::projection_stride
  const Real* chi = nullptr;         ///< input coordinates
  Real* x_attended = nullptr;        ///< owned rows: x + attention
  Real* chi_attended = nullptr;      ///< owned rows: chi + attention
  Real* chi_next = nullptr;          ///< owned rows: output coordinates
  Real* kept = nullptr;              ///< attention, where there is room: rows of Layout::kept_size by pair; null: the adjoint works filters
                                     ///< out again
  Real* record = nullptr;            ///< what node_forward keeps for node_adjoint: Layout::record for every kNodeBlock atoms

  Real* sum_features = nullptr;           ///< forward, owned rows: sums of the messages within a block, head layout
  Real* sum_chi = nullptr;                ///< forward, owned rows: likewise for chi
  Real* gradient_attended = nullptr;      ///< dE/d(x_attended), head layout
  Real* gradient_chi_attended = nullptr;  ///< dE/d(chi_attended)
  Real* gradient_projected = nullptr;     ///< first layer only: gradient_attended . v_b per head, [slot][num_species * heads]
  Real* gradient_x = nullptr;             ///< owned rows: dE/dx, of the output before node_adjoint, of the input after attention_adjoint;
                                          ///< null in gather_adjoint: gradients end here
  Real* gradient_chi = nullptr;           ///< owned rows: likewise for chi
  double* forces = nullptr;               ///< owned rows [3], added to
  double* virial = nullptr;               ///< owned rows [9], added to; sum of d (x) dE/dd, half of each pair
};

/// Readouts of one evaluation; rows of owned atoms.
template <class Real>
struct ReadoutStep {
  const Layout* layout = nullptr;
  const Parameters<Real>* parameters = nullptr;
  const int* species = nullptr;
  const Real* x = nullptr;
  double* energy = nullptr;     ///< without scale and shift
  double* charge = nullptr;     ///< raw output of the charge head, without the element's offset; null: no head
  double* hirshfeld = nullptr;  ///< ratio before the absolute value, without the element's offset; null: no head
  double* c6 = nullptr;         ///< likewise for C6
  double* distance = nullptr;   ///< |factor h|^2 of UncertaintyWeights; null: the model has none

  // Gradients of each readout with respect to x: rows that forward sets and adjoint combines, so that no product is done again.
  Real* energy_row = nullptr;     ///< rows of feature_stride; null: no gradients are wanted
  Real* charge_row = nullptr;     ///< rows of features_padded
  Real* c6_row = nullptr;         ///< rows of feature_stride
  Real* hirshfeld_row = nullptr;  ///< rows of feature_stride; may be x, which nothing needs afterwards

  const double* energy_gradient = nullptr;  ///< adjoint: dE/d(energy), that is the element's scale
  const double* charge_gradient = nullptr;
  const double* hirshfeld_gradient = nullptr;
  const double* c6_gradient = nullptr;
  Real* gradient_x = nullptr;  ///< set; may be energy_row
};

/// Ranges are of owned atoms unless stated; `scratch` belongs to the calling thread and has scratch_size() numbers.
///
/// The attention of a layer has two steps. The first runs over blocks of pairs: forward, it leaves sums of the atoms of a block in
/// sum_features and sum_chi, and of others in rim rows; in the adjoint, gradients of the layer's input likewise. The second gathers rim
/// rows atom by atom. First layers with tables do all in the first step, over atoms.
///
/// initial_forward sets chi_next to sums over neighbours, which the first layer starts with; initial_adjoint takes their gradients, in
/// gradient_chi_attended of all slots, back to forces, and leaves those of others in rim rows.
template <class Real>
struct KernelTable {
  const char* instruction_set = nullptr;
  std::size_t (*scratch_size)(const Layout& layout, int most_block_rows) = nullptr;
  void (*normalise)(const Layout&, const NormParameters<Real>&, int rows, const Real* x, Real* out) = nullptr;
  void (*project)(const Layout&, const LayerParameters<Real>&, const Real* x, int rows, Real* projection) = nullptr;
  void (*input_norm_adjoint)(const LayerStep<Real>&, int begin, int end, Real* scratch) = nullptr;
  void (*initial_forward)(const LayerStep<Real>&, int begin, int end, Real* scratch) = nullptr;
  void (*initial_adjoint)(const LayerStep<Real>&, int first_block, int last_block, Real* scratch) = nullptr;
  void (*first_layer_forward)(const LayerStep<Real>&, int begin, int end, Real* scratch) = nullptr;
  void (*first_layer_adjoint)(const LayerStep<Real>&, int first_block, int last_block, Real* scratch) = nullptr;
  void (*attention_forward)(const LayerStep<Real>&, int first_block, int last_block, Real* scratch) = nullptr;
  void (*attention_adjoint)(const LayerStep<Real>&, int first_block, int last_block, Real* scratch) = nullptr;
  void (*gather_forward)(const LayerStep<Real>&, int begin, int end, Real* scratch) = nullptr;
  void (*gather_adjoint)(const LayerStep<Real>&, int begin, int end, Real* scratch) = nullptr;
  void (*node_forward)(const LayerStep<Real>&, int begin, int end, Real* scratch) = nullptr;
  void (*node_adjoint)(const LayerStep<Real>&, int begin, int end, Real* scratch) = nullptr;
  void (*readout_forward)(const ReadoutStep<Real>&, int begin, int end, Real* scratch) = nullptr;
  void (*readout_adjoint)(const ReadoutStep<Real>&, int begin, int end, Real* scratch) = nullptr;
  void (*long_range)(const LongRange<Real>&, int begin, int end) = nullptr;
  EwaldKernels<Real> ewald;

  // The functions that kernels approximate, for tests of their errors; counts are multiples of the length of a vector.
  void (*exponentials)(int count, const Real* x, Real* value) = nullptr;
  void (*activations)(Activation, int count, Real* x_then_slope, Real* value) = nullptr;  ///< leaves act'(x) in the place of x
};

/// The kernels for this machine, or for the instruction set named by SO3MD_INSTRUCTION_SET (portable, avx2, avx512). Throws
/// std::runtime_error for one that this build or this processor does not have.
template <class Real>
const KernelTable<Real>& kernels();

}  // namespace so3md
