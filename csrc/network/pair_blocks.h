// Who evaluates which pair: blocks of owned atoms, each with the pairs that it takes on and the atoms of other blocks in them.
#pragma once

#include <cstdint>
#include <vector>

#include "geometry/domain.h"
#include "network/pair_shares.h"

namespace so3md {

/// A range of owned atoms, and the rows where it leaves what it adds to owned atoms of other blocks.
struct PairBlock {
  int begin = 0, end = 0;          ///< owned atoms
  int rim_begin = 0, rim_end = 0;  ///< rim rows
  int num_rows() const { return (end - begin) + (rim_end - rim_begin); }
};

/// Filters are the same from both ends of a pair, so that a pair of owned atoms is best evaluated once. The block that does it adds to both
/// atoms; what belongs to an atom of another block goes to a *rim row* of its own, and is gathered from there afterwards. So no two
/// blocks write to the same place, and sums do not depend on which thread did what. Pairs with another process's atom are evaluated
/// from the owned side, and by the other process from its side.
class PairBlocks {
 public:
  static constexpr int kNotHere = -2;    ///< this entry of the list is evaluated elsewhere: from its other end
  static constexpr int kNoPartner = -1;  ///< the partner belongs to another process: only the centre gains

  /// For the lists of this domain; does nothing if they are those of the last call.
  void update(const Domain& domain);

  const std::vector<PairBlock>& blocks() const { return blocks_; }
  int num_interior() const { return num_interior_; }  ///< the first so many blocks have no pair with another process's atom
  int num_rim_rows() const { return static_cast<int>(rim_slots_.size()); }
  int most_rows() const { return most_rows_; }  ///< of a block, with its rim

  /// [entries of the short list] row of the partner in the block of the centre: owned atoms of the block first, then its rim; or one of the
  /// numbers above.
  const std::vector<int>& rows() const { return rows_; }

  /// [num_rim_rows] the atom that a rim row is for.
  const std::vector<int>& rim_slots() const { return rim_slots_; }

  /// Rim rows for owned atom i: gathered()[gathered_first()[i]] .. with ascending numbers.
  const std::vector<int>& gathered_first() const { return gathered_first_; }
  const std::vector<int>& gathered() const { return gathered_; }

 private:
  void cut(const Domain& domain);
  void assign(const Domain& domain, int number);
  int choose_row(const Domain& domain, int number, int i, int site) const;
  void index_rim(int n_owned);

  std::int64_t build_ = 0;  // of the lists
  std::vector<PairBlock> blocks_;
  std::vector<int> first_atoms_, block_of_;  // [blocks + 1], [n_owned]
  PairShares shares_;
  int num_interior_ = 0, most_rows_ = 0;
  std::vector<int> rows_, rim_slots_, gathered_first_, gathered_;
  std::vector<int> place_;  // [n_owned] scratch: rim row of an atom in the block at hand
};

}  // namespace so3md
