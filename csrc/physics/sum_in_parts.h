// Sums over all processes of more values than a call takes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "halo/halo_exchange.h"

namespace so3md {

/// As HaloExchange::sum(), whose number of values is an int.
inline void sum_in_parts(std::vector<double>& values, HaloExchange& halo) {
  constexpr std::size_t kMost = 1 << 24;
  for (std::size_t first = 0; first < values.size(); first += kMost)
    halo.sum(values.data() + first, static_cast<int>(std::min(kMost, values.size() - first)));
}

}  // namespace so3md
