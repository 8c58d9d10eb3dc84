// The short-range edges of one evaluation on the device, and the repulsion of the few that are short enough for it.
#pragma once

#include <optional>

#include "cuda/device_array.h"
#include "cuda/seams.h"
#include "model/model.h"
#include "network/edges.h"
#include "physics/zbl.h"

namespace so3md::cuda {

template <class Real>
class EdgeBuilder {
 public:
  EdgeBuilder(const Model& model, const Stream& stream);

  /// Edges within the cutoff, in the order of the lists. Sets, for owned atoms, the energy of the repulsion (eV), the forces [n_owned][3]
  /// (dE/dr_j - dE/dr_i of pairs as they land on i, eV/A) and virials [n_owned][9] (eV). Pairs closer than kSmallestDistance are left out
  /// and remembered for find_overlap().
  DeviceEdges<Real> build(const DeviceDomain& domain, double* zbl_energy, double* forces, double* virials, const Stream& stream);

  /// Entry of the short lists, of the first pair at one place; kNoOverlap if there is none. On the device.
  const unsigned long long* overlap_entry() const { return overlap_entry_.data(); }
  static constexpr unsigned long long kNoOverlap = ~0ull;

  /// What to throw for an entry. Waits for the device.
  OverlappingAtoms describe_overlap(const DeviceDomain& domain, unsigned long long entry, const Stream& stream) const;

 private:
  void resize(const DeviceDomain& domain);

  Hyperparameters hyper_;
  Zbl zbl_;
  DeviceArray<double> charges_, screenings_;  // by species
  DeviceArray<ZblConstants<double>> pairs_;   // by pairs of species, if the repulsion is of that kind
  DeviceArray<int> count_, slot_;
  DeviceArray<double> r_;
  DeviceArray<Real> ux_, uy_, uz_, cutoff_, cutoff_derivative_;
  DeviceArray<unsigned long long> overlap_entry_;
};

}  // namespace so3md::cuda
