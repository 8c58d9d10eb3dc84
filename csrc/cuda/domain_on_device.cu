#include <algorithm>

#include "cuda/domain_on_device.h"

namespace so3md::cuda {

namespace {

template <class T>
std::span<const T> range(const T* from, std::int64_t count) {
  return {from, static_cast<std::size_t>(count)};
}

}  // namespace

const DeviceDomain& DomainOnDevice::update(const Domain& domain, const int* species, const Stream& stream) {
  if (domain.build == 0 || domain.build != view_.build) update_lists(domain, stream);
  update_species(species, stream);
  positions_.upload(range(domain.positions, std::int64_t{3} * domain.n_sites), stream);
  view_.positions = positions_.data();
  if (domain.unwrapped != nullptr) unwrapped_.upload(range(domain.unwrapped, std::int64_t{3} * domain.n_owned), stream);
  return view_;
}

void DomainOnDevice::update_lists(const Domain& domain, const Stream& stream) {
  view_ = {};  // its number of the build, too, until all is there
  view_.n_owned = domain.n_owned;
  view_.n_interior = domain.n_interior;
  view_.n_near = domain.n_near;
  view_.n_far = domain.n_far;
  view_.n_sites = domain.n_sites;
  slot_.upload(range(domain.slot, domain.n_sites), stream);
  view_.slot = slot_.data();
  view_.n_short = domain.short_offsets[domain.n_owned];
  for (int i = 0; i < domain.n_owned; ++i)
    view_.most_short = std::max(view_.most_short, static_cast<int>(domain.short_offsets[i + 1] - domain.short_offsets[i]));
  short_offsets_.upload(range(domain.short_offsets, domain.n_owned + 1), stream);
  short_sites_.upload(range(domain.short_sites, view_.n_short), stream);
  view_.short_offsets = short_offsets_.data();
  view_.short_sites = short_sites_.data();
  if (domain.long_offsets != nullptr) {
    long_offsets_.upload(range(domain.long_offsets, domain.n_owned + 1), stream);
    long_sites_.upload(range(domain.long_sites, domain.long_offsets[domain.n_owned]), stream);
    view_.long_offsets = long_offsets_.data();
    view_.long_sites = long_sites_.data();
  }
  view_.build = domain.build;
}

void DomainOnDevice::update_species(const int* species, const Stream& stream) {
  const auto known = range(known_species_.data(), static_cast<std::int64_t>(known_species_.size()));
  const auto given = range(species, view_.n_slots());
  if (known.size() != given.size() || !std::equal(given.begin(), given.end(), known.begin())) {
    known_species_.assign(given.begin(), given.end());
    species_.upload(known_species_, stream);
  }
  view_.species = species_.data();
}

}  // namespace so3md::cuda
