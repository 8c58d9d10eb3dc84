#include "compute_heat_flux.h"

#include <mpi.h>

#include "atom.h"
#include "force.h"
#include "pair_so3krates.h"
#include "update.h"

namespace so3md {

ComputeHeatFlux::ComputeHeatFlux(LAMMPS_NS::LAMMPS* lammps, int count, char** words) : ComputeOfPair(lammps, count, words) {
  take_number("1");  // of a hybrid style, whatever it has of them, the flux is not known
  for (int at = 3; at < count; at += 2) {
    const std::string keyword = words[at], value = at + 1 < count ? words[at + 1] : "";
    if (keyword != "shifts") stop("unknown keyword '" + keyword + "'; there is shifts yes|no");
    if (value != "yes" && value != "no") stop("shifts: expected yes or no, found '" + value + "'");
    shifts_ = value == "yes";
  }
  vector_flag = 1;
  extvector = 1;
  size_vector = static_cast<int>(flux_.size());
  vector = flux_.data();
}

std::string ComputeHeatFlux::obstacle(const PairSo3krates& pair) const { return pair.why_no_heat_flux(); }

void ComputeHeatFlux::compute_vector() {
  invoked_vector = update->ntimestep;
  PairSo3krates& pair = evaluated_pair_style("the heat flux");
  const HeatFlux& flux = pair.heat_flux();
  const double unit = pair.energy_unit();
  std::array<double, 6> sums{};  // potential part, convective part
  int row = 0;
  for (int i : pair.owned_atoms()) {
    const int at = row++;
    if (!(atom->mask[i] & groupbit)) continue;
    const double* v = atom->v[i];
    const double mass = atom->rmass != nullptr ? atom->rmass[i] : atom->mass[atom->type[i]];
    const double kinetic = 0.5 * force->mvv2e * mass * (v[0] * v[0] + v[1] * v[1] + v[2] * v[2]);
    const double energy = kinetic + unit * (flux.energy(at) - (shifts_ ? 0.0 : pair.energy_shift(i)));
    for (std::size_t k = 0; k < 3; ++k) {
      sums[k] += unit * flux.moment(at)[k];
      sums[3 + k] += energy * v[k];
    }
  }
  MPI_Allreduce(MPI_IN_PLACE, sums.data(), static_cast<int>(sums.size()), MPI_DOUBLE, MPI_SUM, world);
  for (std::size_t k = 0; k < 3; ++k) {
    flux_[k] = sums[k] + sums[3 + k];
    flux_[3 + k] = sums[3 + k];
  }
}

}  // namespace so3md
