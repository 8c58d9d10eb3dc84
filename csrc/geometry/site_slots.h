// Which slots the sites of a process have, and which atoms of other processes it needs.
#pragma once

#include <span>
#include <vector>

#include "geometry/atom_owner.h"

namespace so3md {

struct SiteSlots {
  std::vector<int> slot;           ///< [n_sites]
  std::vector<int> point_of_slot;  ///< [n_slots] a point that shows the atom of a slot
  std::vector<int> slot_of_point;  ///< [n_points] of owned points; -1 for the others
  std::vector<AtomOwner> halo;     ///< atoms of the near and far slots, each by owner
  int n_near = 0;
};

/// `point_of_site`: the owned points first; `in_short_list`: of each further site, 0 where it is in long lists only. `owners`: [n_points]
/// of the atom that a point shows; empty: this process owns all, each point its own atom.
SiteSlots number_slots(int n_owned, int n_points, std::span<const int> point_of_site, std::span<const int> in_short_list,
                       std::span<const AtomOwner> owners, int process);

/// [n_owned] of an owned atom: its place among the owned points, by number.
std::vector<int> places_among_owned(const SiteSlots& slots, int n_owned);

}  // namespace so3md
