#include "collective_error.h"

#include <mpi.h>

#include "comm.h"
#include "error.h"

namespace so3md {

void stop_if_any_failed(LAMMPS_NS::LAMMPS* lammps, bool failed, const std::string& message) {
  const int none = lammps->comm->nprocs;
  int first = failed ? lammps->comm->me : none;
  MPI_Allreduce(MPI_IN_PLACE, &first, 1, MPI_INT, MPI_MIN, lammps->world);
  if (first == none) return;
  std::string text = message;
  int length = static_cast<int>(text.size());
  MPI_Bcast(&length, 1, MPI_INT, first, lammps->world);
  text.resize(static_cast<std::size_t>(length));
  MPI_Bcast(text.data(), length, MPI_CHAR, first, lammps->world);
  lammps->error->all(FLERR, "Pair style so3krates: " + text);
}

}  // namespace so3md
