#include "collective_error.h"

#include <mpi.h>

#include <array>

#include "comm.h"
#include "error.h"

namespace so3md {

namespace {

constexpr int kNotices = 2;  // bits

}  // namespace

int stop_if_any_failed(LAMMPS_NS::LAMMPS* lammps, bool failed, const std::string& message, int notices) {
  const int none = lammps->comm->nprocs;
  // One reduction for all: of the lowest process that failed, and for each notice 0 if a process has it.
  int first = failed ? lammps->comm->me : none;
  std::array<int, 1 + kNotices> lowest{first};
  for (int bit = 0; bit < kNotices; ++bit) lowest[static_cast<std::size_t>(1 + bit)] = (notices >> bit) & 1 ? 0 : 1;
  MPI_Allreduce(MPI_IN_PLACE, lowest.data(), static_cast<int>(lowest.size()), MPI_INT, MPI_MIN, lammps->world);
  first = lowest[0];
  if (first == none) {
    int all = 0;
    for (int bit = 0; bit < kNotices; ++bit) all |= lowest[static_cast<std::size_t>(1 + bit)] == 0 ? 1 << bit : 0;
    return all;
  }
  std::string text = message;
  int length = static_cast<int>(text.size());
  MPI_Bcast(&length, 1, MPI_INT, first, lammps->world);
  text.resize(static_cast<std::size_t>(length));
  MPI_Bcast(text.data(), length, MPI_CHAR, first, lammps->world);
  lammps->error->all(FLERR, "Pair style so3krates: " + text);
}

}  // namespace so3md
