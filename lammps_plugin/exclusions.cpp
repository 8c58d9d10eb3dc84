#include "exclusions.h"

#include <mpi.h>

#include "atom.h"
#include "group.h"
#include "lammps.h"
#include "neighbor.h"

namespace so3md {

namespace {

constexpr int kGroupAll = 0;

std::string name_of_group(LAMMPS_NS::LAMMPS* lammps, int group) {
  const char* name = lammps->group->names[group];
  return name == nullptr ? "(deleted)" : name;
}

}  // namespace

int groups_of_model(LAMMPS_NS::LAMMPS* lammps, const std::vector<int>& species_of_type) {
  const LAMMPS_NS::Atom& atom = *lammps->atom;
  int bits = 0;
  for (int i = 0; i < atom.nlocal; ++i)
    if (species_of_type[static_cast<std::size_t>(atom.type[i])] >= 0) bits |= atom.mask[i];
  MPI_Allreduce(MPI_IN_PLACE, &bits, 1, MPI_INT, MPI_BOR, lammps->world);
  return bits;
}

Exclusions find_exclusions(LAMMPS_NS::LAMMPS* lammps, const std::vector<int>& species_of_type) {
  const LAMMPS_NS::Neighbor& neighbor = *lammps->neighbor;
  Exclusions found;
  if (neighbor.nex_type + neighbor.nex_group + neighbor.nex_mol + neighbor.includegroup == 0) return found;
  const int groups = groups_of_model(lammps, species_of_type);
  const auto is_of_model = [&](int type) { return species_of_type[static_cast<std::size_t>(type)] >= 0; };
  const int* bit = lammps->group->bitmask;  // Neighbor's own bits are older, before its initialisation
  for (int m = 0; m < neighbor.nex_group; ++m) {
    const int first = neighbor.ex1_group[m], second = neighbor.ex2_group[m];
    if ((first == kGroupAll) != (second == kGroupAll))
      found.invisible |= bit[first == kGroupAll ? second : first];
    else if ((groups & bit[first]) && (groups & bit[second]))
      found.of_pairs = "neigh_modify exclude group " + name_of_group(lammps, first) + " " + name_of_group(lammps, second);
  }
  for (int m = 0; m < neighbor.nex_type; ++m)
    if (is_of_model(neighbor.ex1_type[m]) && is_of_model(neighbor.ex2_type[m]))
      found.of_pairs = "neigh_modify exclude type " + std::to_string(neighbor.ex1_type[m]) + " " + std::to_string(neighbor.ex2_type[m]);
  for (int m = 0; m < neighbor.nex_mol; ++m)
    if (groups & bit[neighbor.ex_mol_group[m]])
      found.of_pairs = std::string("neigh_modify exclude molecule/") + (neighbor.ex_mol_intra[m] ? "intra " : "inter ") +
                       name_of_group(lammps, neighbor.ex_mol_group[m]);
  if (neighbor.includegroup) found.of_pairs = "neigh_modify include " + name_of_group(lammps, neighbor.includegroup);
  return found;
}

}  // namespace so3md
