// The domains of several independent systems as one.
#pragma once

#include <cstdint>
#include <vector>

#include "geometry/domain.h"

namespace so3md {

/// Side by side: the owned atoms of one system after those of the other, then all their images. No list has a pair of two systems.
class JoinedDomain {
 public:
  void clear();

  /// Appends a copy of a system that one process owns alone. Where it has no long list, `everyone` makes one of all its atoms.
  void add(const Domain& system, bool everyone);

  /// After the last add().
  void finish();

  /// Valid until the next clear().
  Domain domain() const;

  /// [systems + 1] owned atoms of system s are first()[s] .. first()[s + 1] - 1.
  const std::vector<int>& first() const { return first_; }

 private:
  struct Rows {
    std::vector<std::int64_t> offsets;
    std::vector<int> sites;  // until finish(), ~k for the k-th image
  };

  void append(const Domain& system, const std::int64_t* offsets, const int* sites, Rows& rows) const;
  void append_everyone(int n, Rows& rows) const;

  std::vector<int> first_;
  Rows short_, long_;
  std::vector<double> positions_, image_positions_;  // all after finish(); until then, of the owned atoms
  std::vector<int> slots_, image_slots_;
};

}  // namespace so3md
