// What LAMMPS's neighbour lists leave out (neigh_modify exclude and include). Fixes change that at any time.
#pragma once

#include <string>
#include <vector>

namespace LAMMPS_NS {
class LAMMPS;
}

namespace so3md {

struct Exclusions {
  /// Bits of the groups that are excluded from the group all. No style of LAMMPS sees their atoms, and no more does the model: fixes that
  /// try what it costs to remove atoms (gcmc, widom) put them into such a group of their own.
  int invisible = 0;

  /// Pairs of atoms of the model that are left out otherwise, which a network cannot do: the command, or empty if there are none.
  std::string of_pairs;
};

/// Bits of all groups that atoms of the model are in. Collective.
int groups_of_model(LAMMPS_NS::LAMMPS* lammps, const std::vector<int>& species_of_type);

/// Collective. `species_of_type`: by LAMMPS's type, from 1; -1 for types that the model does not see.
Exclusions find_exclusions(LAMMPS_NS::LAMMPS* lammps, const std::vector<int>& species_of_type);

}  // namespace so3md
