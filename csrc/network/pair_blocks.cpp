#include "network/pair_blocks.h"

#include <algorithm>
#include <cmath>

#include "common/discard.h"
#include "common/index.h"

namespace so3md {

namespace {

// Small systems are cut into enough blocks for several threads to share; large ones into blocks whose rims are not much larger than they
// are. The size must not depend on the number of threads: results would.
constexpr int kFewestBlocks = 16;
constexpr int kSmallestBlock = 32;
constexpr int kLargestBlock = 256;

// A pair of an atom and its own image stands in the list twice, with opposite displacements: the positive one counts. Displacements are
// whole lattice vectors, none of which is this short.
constexpr double kNoLength = 1e-6;

bool is_positive(const double* from, const double* to) {
  for (int k = 0; k < 3; ++k)
    if (std::abs(to[k] - from[k]) > kNoLength) return to[k] > from[k];
  return false;
}

}  // namespace

void PairBlocks::update(const Domain& domain) {
  if (domain.build != 0 && domain.build == build_) return;
  build_ = domain.build;
  cut(domain);
  resize_discarding(rows_, static_cast<std::size_t>(domain.short_offsets[domain.n_owned]));
  rim_slots_.clear();
  most_rows_ = 0;
  place_.assign(index_of(domain.n_owned), kNotHere);
  shares_.update(domain, first_atoms_, block_of_);
  for (int number = 0; number < static_cast<int>(blocks_.size()); ++number) assign(domain, number);
  index_rim(domain.n_owned);
}

// Blocks of nearly equal size, none with both interior and other atoms.
void PairBlocks::cut(const Domain& domain) {
  const int size = std::clamp(domain.n_owned / kFewestBlocks, kSmallestBlock, kLargestBlock);
  blocks_.clear();
  first_atoms_.clear();
  block_of_.resize(index_of(domain.n_owned));
  const auto cut_range = [&](int begin, int end) {
    const int count = (end - begin + size - 1) / size;
    for (int k = 0; k < count; ++k) {
      PairBlock block;
      block.begin = begin + static_cast<int>(static_cast<std::int64_t>(end - begin) * k / count);
      block.end = begin + static_cast<int>(static_cast<std::int64_t>(end - begin) * (k + 1) / count);
      std::fill(block_of_.begin() + block.begin, block_of_.begin() + block.end, static_cast<int>(blocks_.size()));
      blocks_.push_back(block);
      first_atoms_.push_back(block.begin);
    }
  };
  cut_range(0, domain.n_interior);
  num_interior_ = static_cast<int>(blocks_.size());
  cut_range(domain.n_interior, domain.n_owned);
  first_atoms_.push_back(domain.n_owned);
}

int PairBlocks::choose_row(const Domain& domain, int number, int i, int site) const {
  const int j = domain.slot[site];
  if (j >= domain.n_owned) return kNoPartner;
  if (j == i) return is_positive(domain.positions + 3 * index_of(i), domain.positions + 3 * index_of(site)) ? 0 : kNotHere;
  const int other = block_of_[index_of(j)];
  if (other == number) return j > i ? 0 : kNotHere;
  return shares_.takes(number, i, other, j) ? 0 : kNotHere;
}

void PairBlocks::assign(const Domain& domain, int number) {
  PairBlock& block = blocks_[index_of(number)];
  block.rim_begin = static_cast<int>(rim_slots_.size());
  const int own = block.end - block.begin;
  for (int i = block.begin; i < block.end; ++i)
    for (std::int64_t entry = domain.short_offsets[i]; entry < domain.short_offsets[i + 1]; ++entry) {
      int& row = rows_[static_cast<std::size_t>(entry)];
      row = choose_row(domain, number, i, domain.short_sites[entry]);
      if (row < 0) continue;
      const int j = domain.slot[domain.short_sites[entry]];
      if (j >= block.begin && j < block.end) {
        row = j - block.begin;
        continue;
      }
      int& place = place_[index_of(j)];
      if (place < 0) {
        place = own + static_cast<int>(rim_slots_.size()) - block.rim_begin;
        rim_slots_.push_back(j);
      }
      row = place;
    }
  block.rim_end = static_cast<int>(rim_slots_.size());
  for (int row = block.rim_begin; row < block.rim_end; ++row) place_[index_of(rim_slots_[index_of(row)])] = kNotHere;
  most_rows_ = std::max(most_rows_, block.num_rows());
}

void PairBlocks::index_rim(int n_owned) {
  gathered_first_.assign(index_of(n_owned) + 1, 0);
  for (int slot : rim_slots_) ++gathered_first_[index_of(slot) + 1];
  for (int i = 0; i < n_owned; ++i) gathered_first_[index_of(i) + 1] += gathered_first_[index_of(i)];
  resize_discarding(gathered_, rim_slots_.size());
  std::vector<int> next(gathered_first_.begin(), gathered_first_.end() - 1);
  for (int row = 0; row < static_cast<int>(rim_slots_.size()); ++row)
    gathered_[index_of(next[index_of(rim_slots_[index_of(row)])]++)] = row;
}

}  // namespace so3md
