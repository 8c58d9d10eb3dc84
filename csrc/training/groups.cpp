// How the structures of a batch are divided into groups.
#include <algorithm>
#include <bit>
#include <numeric>

#include "training/sweeps.h"

namespace so3md::training {

namespace {

// A group of fewer pairs spends too much on reading weights and on adding up gradients; of more groups than this, each with gradients of
// its own, memory and sums would grow for nothing.
constexpr std::int64_t kFewestPairs = 64;
constexpr std::int64_t kMostGroups = 16;
// The operations on an atom are about as many as those on two pairs.
constexpr std::int64_t kPairsOfAtom = 2;

}  // namespace

std::vector<std::int64_t> divide_structures(const std::vector<std::int64_t>& atoms, const std::vector<std::int64_t>& pairs) {
  const auto structures = static_cast<std::int64_t>(atoms.size());
  const std::int64_t total_pairs = std::accumulate(pairs.begin(), pairs.end(), std::int64_t{0});
  const std::int64_t total = total_pairs + kPairsOfAtom * std::accumulate(atoms.begin(), atoms.end(), std::int64_t{0});
  const std::int64_t most =
      std::clamp<std::int64_t>(total_pairs / kFewestPairs, 1, std::min(kMostGroups, std::max<std::int64_t>(structures, 1)));
  // A power of two, so that two, four, eight threads have the same to do.
  const auto groups = static_cast<std::int64_t>(std::bit_floor(static_cast<std::uint64_t>(most)));
  std::vector<std::int64_t> starts{0};
  std::int64_t done = 0;
  for (std::int64_t s = 0; s < structures; ++s) {
    const auto k = static_cast<std::size_t>(s);
    const std::int64_t cost = pairs[k] + kPairsOfAtom * atoms[k];
    // A structure opens the next group if its middle lies beyond the end of the present one.
    const auto next = static_cast<std::int64_t>(starts.size());
    if (s > starts.back() && next < groups && (2 * done + cost) * groups >= 2 * next * total) starts.push_back(s);
    done += cost;
  }
  starts.push_back(structures);
  return starts;
}

}  // namespace so3md::training
