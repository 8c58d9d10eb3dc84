// A domain that the host made, on the device.
#pragma once

#include <vector>

#include "cuda/device_array.h"
#include "cuda/seams.h"
#include "geometry/domain.h"

namespace so3md::cuda {

class DomainOnDevice {
 public:
  /// Copies the positions, and lists and species where they are not those of the last call. `species`: by slot.
  const DeviceDomain& update(const Domain& domain, const int* species, const Stream& stream);

  const DeviceDomain& view() const { return view_; }

  /// Positions along the paths, [n_owned][3], if the last domain had them.
  const double* unwrapped() const { return unwrapped_.data(); }

 private:
  void update_lists(const Domain& domain, const Stream& stream);
  void update_species(const int* species, const Stream& stream);

  DeviceDomain view_;
  DeviceArray<int> slot_, species_, short_sites_, long_sites_;
  DeviceArray<std::int64_t> short_offsets_, long_offsets_;
  DeviceArray<double> positions_, unwrapped_;
  std::vector<int> known_species_;
};

}  // namespace so3md::cuda
