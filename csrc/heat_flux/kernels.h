// What the heat flux asks of a processor: the hot loops, as a table of functions that csrc/cpu fills for every instruction set.
//
// Every quantity x_i of an atom i is carried with four more numbers, which say how it changes when atoms move at their velocities
// (eq. 74 of docs/theory.md): its rate, sum_j dx_i/dr_j . v_j, and its three moments, sum_j (r_i - r_j) dx_i/dr_j . v_j. These five are the
// *parts* of a quantity. A row of an atom holds the values of several quantities, then their rates, then their moments by x, y, z.
#pragma once

#include <cstddef>

#include "network/kernels.h"

namespace so3md::heat_flux {

inline constexpr int kValue = 0, kRate = 1, kMoment = 2;  ///< places among the parts; the moments are kMoment + 0, 1, 2
inline constexpr int kParts = 5;

/// Most atoms whose rows pass through a matrix product together.
inline constexpr int kBlock = 8;

/// One layer. Rows by slot (owned atoms first), each of kParts rows of the layout's stride.
struct LayerStep {
  const Layout* layout = nullptr;
  const LayerParameters<double>* parameters = nullptr;
  const RadialFunctions* radial_functions = nullptr;
  const HarmonicsTable<double>* harmonics = nullptr;
  EdgeView<double> edges;
  const double* velocities = nullptr;  ///< [slots][3]
  const int* species = nullptr;        ///< by slot
  bool radial_only = false;            ///< chi is zero, and the radial table holds the whole filter

  const double* embedded = nullptr;  ///< [species][feature_stride] what nodes() mixes into x for the next layer (eq. 94); null: nothing

  double* x = nullptr;           ///< input of the layer; attend() and nodes() replace owned rows by its output
  double* normalised = nullptr;  ///< x after a norm, where the layer projects that
  double* projection = nullptr;  ///< [q, k, v, q', k']
  const double* chi = nullptr;   ///< input coordinates
  double* chi_next = nullptr;    ///< owned rows: output coordinates
};

/// Readouts of owned atoms: the parts of each.
struct ReadoutStep {
  const Layout* layout = nullptr;
  const Parameters<double>* parameters = nullptr;
  const int* species = nullptr;
  const double* x = nullptr;
  double* energy = nullptr;     ///< without scale and shift
  double* charge = nullptr;     ///< without the element's offset; null: no head
  double* hirshfeld = nullptr;  ///< before the absolute value, without the element's offset; null: no head
  double* c6 = nullptr;         ///< likewise
};

/// Electrostatics and dispersion. `pairs` says which, and how; its arrays are not used.
struct PairStep {
  LongRange<double> pairs;
  const double* velocities = nullptr;  ///< [slots][3]
  const double* charge = nullptr;      ///< [slots][kParts], e
  const double* alpha = nullptr;       ///< [slots][kParts] polarisability, Bohr^3
  const double* c6_factor = nullptr;   ///< [slots][kParts] C6 / alpha^2, Hartree
  double* energy = nullptr;            ///< [n_owned][kParts], added to, eV; half of each pair
};

/// Ranges are of owned atoms, in project() of slots; `scratch` belongs to the calling thread and has scratch_size() numbers.
struct KernelTable {
  std::size_t (*scratch_size)(const Layout&) = nullptr;
  void (*initial)(const LayerStep&, int begin, int end, double* scratch) = nullptr;  ///< chi_next = chi before the first layer (eq. 53)
  void (*project)(const LayerStep&, int begin, int end, double* scratch) = nullptr;  ///< x to projection, and norms of heads (eq. 18, 93)
  void (*attend)(const LayerStep&, int begin, int end, double* scratch) = nullptr;   ///< filters and attention, eq. 17, 19 to 22
  void (*nodes)(const LayerStep&, int begin, int end, double* scratch) = nullptr;  ///< norms to exchange, eq. 23 to 25; next layer, eq. 94
  void (*readouts)(const ReadoutStep&, int begin, int end, double* scratch) = nullptr;
  void (*long_range)(const PairStep&, int begin, int end) = nullptr;
};

/// The kernels for this machine, chosen as those of the network.
const KernelTable& kernels();

}  // namespace so3md::heat_flux
