// Which slots the sites of a process have that shares points with others; on the host, which exchanges rows by them.
#pragma once

#include <span>
#include <vector>

#include "geometry/local_domain.h"

namespace so3md::cuda {

struct SiteSlots {
  std::vector<int> slot;           ///< [n_sites]
  std::vector<int> point_of_slot;  ///< [n_slots] a point that shows the atom of a slot
  std::vector<int> slot_of_point;  ///< [n_points] of owned points; -1 for the others
  std::vector<int> result_row;     ///< [n_owned] of an owned atom: its place among the owned points, by number
  std::vector<AtomOwner> halo;     ///< atoms of the near and far slots, each by owner
  int n_near = 0;
};

/// As so3md::LocalDomain numbers them. `point_of_site`: the owned points first; `in_short_list`: of each further site, 0 where it is in
/// long lists only.
SiteSlots number_slots(int n_owned, std::span<const int> point_of_site, std::span<const int> in_short_list,
                       std::span<const AtomOwner> owners, int process);

}  // namespace so3md::cuda
