#include "geometry/joined_domain.h"

#include <numeric>

namespace so3md {

void JoinedDomain::clear() {
  first_.assign(1, 0);
  for (Rows* rows : {&short_, &long_}) {
    rows->offsets.assign(1, 0);
    rows->sites.clear();
  }
  for (auto* values : {&positions_, &image_positions_}) values->clear();
  for (auto* values : {&slots_, &image_slots_}) values->clear();
}

void JoinedDomain::add(const Domain& system, bool everyone) {
  append(system, system.short_offsets, system.short_sites, short_);
  if (system.long_offsets != nullptr)
    append(system, system.long_offsets, system.long_sites, long_);
  else if (everyone)
    append_everyone(system.n_owned, long_);
  const double* images = system.positions + 3 * static_cast<std::ptrdiff_t>(system.n_owned);
  positions_.insert(positions_.end(), system.positions, images);
  image_positions_.insert(image_positions_.end(), images, system.positions + 3 * static_cast<std::ptrdiff_t>(system.n_sites));
  for (int site = system.n_owned; site < system.n_sites; ++site) image_slots_.push_back(first_.back() + system.slot[site]);
  first_.push_back(first_.back() + system.n_owned);
}

void JoinedDomain::append(const Domain& system, const std::int64_t* offsets, const int* sites, Rows& rows) const {
  const int owned = first_.back(), images = static_cast<int>(image_slots_.size());
  const std::int64_t start = rows.offsets.back();
  for (int i = 1; i <= system.n_owned; ++i) rows.offsets.push_back(start + offsets[i]);
  for (const int* site = sites; site != sites + offsets[system.n_owned]; ++site)
    rows.sites.push_back(*site < system.n_owned ? owned + *site : ~(images + *site - system.n_owned));
}

void JoinedDomain::append_everyone(int n, Rows& rows) const {
  for (int i = 0; i < n; ++i) {
    for (int j = 0; j < n; ++j)
      if (j != i) rows.sites.push_back(first_.back() + j);
    rows.offsets.push_back(static_cast<std::int64_t>(rows.sites.size()));
  }
}

void JoinedDomain::finish() {
  const int owned = first_.back();
  for (Rows* rows : {&short_, &long_})
    for (int& site : rows->sites)
      if (site < 0) site = owned + ~site;
  positions_.insert(positions_.end(), image_positions_.begin(), image_positions_.end());
  slots_.resize(static_cast<std::size_t>(owned));
  std::iota(slots_.begin(), slots_.end(), 0);
  slots_.insert(slots_.end(), image_slots_.begin(), image_slots_.end());
}

Domain JoinedDomain::domain() const {
  Domain domain;
  domain.n_owned = domain.n_interior = first_.back();
  domain.n_sites = static_cast<int>(slots_.size());
  domain.slot = slots_.data();
  domain.positions = positions_.data();
  domain.short_offsets = short_.offsets.data();
  domain.short_sites = short_.sites.data();
  if (long_.offsets.size() == short_.offsets.size()) {
    domain.long_offsets = long_.offsets.data();
    domain.long_sites = long_.sites.data();
  }
  return domain;
}

}  // namespace so3md
