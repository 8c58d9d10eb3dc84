#include "geometry/site_slots.h"

#include <algorithm>
#include <iterator>
#include <tuple>

#include "common/index.h"

namespace so3md {

namespace {

bool before(const AtomOwner& a, const AtomOwner& b) { return std::tie(a.process, a.point) < std::tie(b.process, b.point); }

void sort_once_each(std::vector<AtomOwner>& atoms) {
  std::sort(atoms.begin(), atoms.end(), before);
  atoms.erase(std::unique(atoms.begin(), atoms.end()), atoms.end());
}

// Near atoms before far ones, and either kind by owner: what comes from one process is then together.
void list_halo(std::span<const int> points, std::span<const int> in_short_list, std::span<const AtomOwner> owners, int process,
               SiteSlots& out) {
  std::vector<AtomOwner> near, far;
  for (std::size_t k = 0; k < points.size(); ++k) {
    const AtomOwner& owner = owners[index_of(points[k])];
    if (owner.process != process) (in_short_list[k] != 0 ? near : far).push_back(owner);
  }
  sort_once_each(near);
  sort_once_each(far);
  out.n_near = static_cast<int>(near.size());
  out.halo = near;  // an atom that is near at one of its sites is near
  std::set_difference(far.begin(), far.end(), near.begin(), near.end(), std::back_inserter(out.halo), before);
}

int place_in_halo(const SiteSlots& slots, const AtomOwner& owner) {
  const auto first_far = slots.halo.begin() + slots.n_near;
  auto found = std::lower_bound(slots.halo.begin(), first_far, owner, before);
  if (found == first_far || !(*found == owner)) found = std::lower_bound(first_far, slots.halo.end(), owner, before);
  return static_cast<int>(found - slots.halo.begin());
}

}  // namespace

SiteSlots number_slots(int n_owned, int n_points, std::span<const int> point_of_site, std::span<const int> in_short_list,
                       std::span<const AtomOwner> owners, int process) {
  SiteSlots out;
  const auto others = point_of_site.subspan(index_of(n_owned));
  if (!owners.empty()) list_halo(others, in_short_list, owners, process, out);
  out.point_of_slot.assign(point_of_site.begin(), point_of_site.begin() + n_owned);
  out.point_of_slot.resize(index_of(n_owned) + out.halo.size());
  out.slot_of_point.assign(index_of(n_points), -1);
  for (int row = 0; row < n_owned; ++row) out.slot_of_point[index_of(point_of_site[index_of(row)])] = row;
  out.slot.reserve(point_of_site.size());
  for (int row = 0; row < n_owned; ++row) out.slot.push_back(row);
  for (int point : others) {
    const AtomOwner owner = owners.empty() ? AtomOwner{process, point} : owners[index_of(point)];
    const bool own = owner.process == process;
    const int slot = own ? out.slot_of_point[index_of(owner.point)] : n_owned + place_in_halo(out, owner);
    out.slot.push_back(slot);
    if (!own) out.point_of_slot[index_of(slot)] = point;
  }
  return out;
}

std::vector<int> places_among_owned(const SiteSlots& slots, int n_owned) {
  std::vector<int> places(index_of(n_owned));
  int next = 0;
  for (int slot : slots.slot_of_point)
    if (slot >= 0) places[index_of(slot)] = next++;
  return places;
}

}  // namespace so3md
