// Which of two blocks of atoms takes on a pair between them.
#pragma once

#include <utility>
#include <vector>

#include "geometry/domain.h"

namespace so3md {

/// Of few blocks, each gets nearly as many pairs as the others, or threads would wait at the end of a range. Of many blocks, each gets half
/// of its pairs with others on average. All from the list alone: results must not depend on the number of threads.
class PairShares {
 public:
  /// `first_atoms` [blocks + 1]: a block has the owned atoms from its entry to the next one. `block_of` [n_owned]: an atom's block.
  void update(const Domain& domain, const std::vector<int>& first_atoms, const std::vector<int>& block_of);

  /// Whether block a, rather than block b, takes on the pair of its atom i with atom j of b.
  bool takes(int a, int i, int b, int j) const;

 private:
  void count_pairs(const Domain& domain, const std::vector<int>& block_of);
  void give_whole(const std::vector<int>& first_atoms);
  void divide(const Domain& domain, const std::vector<int>& first_atoms, const std::vector<int>& block_of);
  void move(int from, int to, int pairs);
  std::size_t place(int a, int b) const;

  int count_ = 0;                                // of few blocks; 0: there are many
  std::vector<int> load_;                        // [count] pairs of each
  std::vector<int> common_;                      // [count][count] pairs of two blocks
  std::vector<std::pair<int, int>> neighbours_;  // blocks with common pairs, the lower number first; most pairs first
  std::vector<int> cut_;  // [count][count] of two blocks, the first takes on the pairs of its atoms below this one, the second the others
};

}  // namespace so3md
