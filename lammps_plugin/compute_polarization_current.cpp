#include "compute_polarization_current.h"

#include <mpi.h>

#include <vector>

#include "atom.h"
#include "pair_so3krates.h"
#include "update.h"

namespace so3md {

ComputePolarizationCurrent::ComputePolarizationCurrent(LAMMPS_NS::LAMMPS* lammps, int count, char** words)
    : ComputeOfPair(lammps, count, words) {
  const int next = count > 3 && take_number(words[3]) ? 4 : 3;
  if (count > next) stop("unknown keyword '" + std::string(words[next]) + "'; there are none");
  vector_flag = 1;
  extvector = 1;
  size_vector = static_cast<int>(current_.size());
  vector = current_.data();
}

std::string ComputePolarizationCurrent::obstacle(const PairSo3krates& pair) const { return pair.why_no_polarization_current(); }

void ComputePolarizationCurrent::compute_vector() {
  invoked_vector = update->ntimestep;
  PairSo3krates& pair = evaluated_pair_style("the current of polarization");
  const std::vector<double> shares = pair.polarization_current();
  current_ = {};
  std::size_t at = 0;
  for (int i : pair.owned_atoms()) {
    for (std::size_t k = 0; k < 3 && (atom->mask[i] & groupbit) != 0; ++k) current_[k] += shares[at + k];
    at += 3;
  }
  MPI_Allreduce(MPI_IN_PLACE, current_.data(), static_cast<int>(current_.size()), MPI_DOUBLE, MPI_SUM, world);
}

}  // namespace so3md
