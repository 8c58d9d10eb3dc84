#include "network/pair_shares.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "common/index.h"

namespace so3md {

namespace {

constexpr int kFewBlocks = 64;
constexpr int kSweeps = 4;

// Pairs of two blocks that both work on need rim rows in both: a smaller part of a block's pairs than this is not worth them.
constexpr int kLeastPart = 32;

}  // namespace

std::size_t PairShares::place(int a, int b) const { return index_of(a) * index_of(count_) + index_of(b); }

void PairShares::update(const Domain& domain, const std::vector<int>& first_atoms, const std::vector<int>& block_of) {
  count_ = static_cast<int>(first_atoms.size()) - 1;
  if (count_ > kFewBlocks) count_ = 0;
  if (count_ == 0) return;
  count_pairs(domain, block_of);
  give_whole(first_atoms);
  divide(domain, first_atoms, block_of);
}

// The list is full: a pair within a block stands in it twice, one of two blocks once for each, one with another process's atom once.
void PairShares::count_pairs(const Domain& domain, const std::vector<int>& block_of) {
  load_.assign(index_of(count_), 0);
  common_.assign(index_of(count_) * index_of(count_), 0);
  for (int i = 0; i < domain.n_owned; ++i) {
    const int own = block_of[index_of(i)];
    for (std::int64_t entry = domain.short_offsets[i]; entry < domain.short_offsets[i + 1]; ++entry) {
      const int j = domain.slot[domain.short_sites[entry]];
      ++(j >= domain.n_owned ? load_[index_of(own)] : common_[place(own, block_of[index_of(j)])]);
    }
  }
  for (int own = 0; own < count_; ++own) load_[index_of(own)] += common_[place(own, own)] / 2;

  neighbours_.clear();
  for (int first = 0; first < count_; ++first)
    for (int second = first + 1; second < count_; ++second)
      if (common_[place(first, second)] > 0) neighbours_.emplace_back(first, second);
  std::stable_sort(neighbours_.begin(), neighbours_.end(),
                   [&](auto x, auto y) { return common_[place(x.first, x.second)] > common_[place(y.first, y.second)]; });
}

void PairShares::move(int from, int to, int pairs) {
  load_[index_of(from)] -= pairs;
  load_[index_of(to)] += pairs;
}

// All pairs of two blocks to the one that has fewer so far; then they change sides wherever that brings the two closer.
void PairShares::give_whole(const std::vector<int>& first_atoms) {
  cut_.assign(common_.size(), 0);
  for (const auto& [first, second] : neighbours_) {
    const bool to_first = load_[index_of(first)] <= load_[index_of(second)];
    load_[index_of(to_first ? first : second)] += common_[place(first, second)];
    cut_[place(first, second)] = first_atoms[index_of(first + (to_first ? 1 : 0))];
  }
  for (int sweep = 0; sweep < kSweeps; ++sweep)
    for (const auto& [first, second] : neighbours_) {
      int& cut = cut_[place(first, second)];
      const bool has_first = cut == first_atoms[index_of(first + 1)];
      const int taker = has_first ? first : second, other = has_first ? second : first;
      const int pairs = common_[place(first, second)];
      if (load_[index_of(taker)] - load_[index_of(other)] <= pairs) continue;
      move(taker, other, pairs);
      cut = first_atoms[index_of(first + (has_first ? 0 : 1))];
    }
}

// A block with more pairs than another leaves it half of the difference, of those between them.
void PairShares::divide(const Domain& domain, const std::vector<int>& first_atoms, const std::vector<int>& block_of) {
  std::stable_sort(neighbours_.begin(), neighbours_.end(), [&](auto x, auto y) {
    return std::abs(load_[index_of(x.first)] - load_[index_of(x.second)]) > std::abs(load_[index_of(y.first)] - load_[index_of(y.second)]);
  });
  for (const auto& [first, second] : neighbours_) {
    int& cut = cut_[place(first, second)];
    const int begin = first_atoms[index_of(first)], end = first_atoms[index_of(first + 1)];
    const int has = cut == end ? common_[place(first, second)] : 0;
    const int gains = (load_[index_of(second)] - load_[index_of(first)]) / 2;
    const int wanted = std::clamp(has + gains, 0, common_[place(first, second)]);
    if (std::abs(wanted - has) * kLeastPart < load_[index_of(first)]) continue;
    int found = 0;
    for (cut = begin; cut < end && found < wanted; ++cut)
      for (std::int64_t entry = domain.short_offsets[cut]; entry < domain.short_offsets[cut + 1]; ++entry) {
        const int j = domain.slot[domain.short_sites[entry]];
        found += j < domain.n_owned && block_of[index_of(j)] == second;
      }
    move(second, first, found - has);
  }
}

bool PairShares::takes(int a, int i, int b, int j) const {
  const bool is_first = a < b;
  if (count_ == 0) return ((a + b) % 2 == 0) == is_first;  // one or the other, by the parity of their numbers
  const bool first_takes = (is_first ? i : j) < cut_[is_first ? place(a, b) : place(b, a)];
  return first_takes == is_first;
}

}  // namespace so3md
