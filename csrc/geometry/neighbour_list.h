// The engine's own neighbour list, for hosts that do not bring one.
#pragma once

#include <cstdint>
#include <vector>

#include "common/thread_pool.h"
#include "geometry/cell.h"
#include "geometry/domain.h"
#include "geometry/list_age.h"
#include "geometry/local_domain.h"

namespace so3md {

/// Throws std::invalid_argument, with a finished message, for positions ([n][3], A) that are not finite or absurdly large.
void require_usable_positions(int n, const double* positions);

/// All pairs within a short and a long cutoff, for molecules, wires, slabs and bulk in any cell. Both lists hold pairs up to the cutoff
/// plus a skin, and are built again only when a pair that they lack could have come within a cutoff.
class NeighbourList {
 public:
  /// Lengths in A. `long_cutoff`: 0 for no long list; infinity for no cutoff, which needs no list either (Domain::long_offsets is null
  /// in both cases) and is refused for periodic systems. Throws std::invalid_argument for impossible lengths.
  NeighbourList(double short_cutoff, double long_cutoff, double skin);

  /// Takes new positions ([n][3], A); returns whether the lists were built again. Throws std::invalid_argument for positions that are
  /// not finite or absurdly large; what domain() shows then is unspecified until the next successful update.
  bool update(int n, const double* positions, const Cell& cell, ThreadPool& pool) {
    return update(n, positions, cell, 0, [](std::vector<AtomOwner>&) {}, pool);
  }

  /// For one of several processes, all of which give the same positions: `assign_owners(owners)` is called when the lists are about to be
  /// built again, and fills in who owns which atom ([n]; AtomOwner::point is the atom's number; left empty: this process owns all).
  template <class AssignOwners>
  bool update(int n, const double* positions, const Cell& cell, int process, const AssignOwners& assign_owners, ThreadPool& pool) {
    if (still_complete(n, positions, cell, pool)) return false;
    owners_.clear();
    assign_owners(owners_);
    rebuild(n, positions, cell, process, pool);
    return true;
  }

  /// What the engine sees, and what its numbers mean; valid until the next update. Processes alone have no halo.
  const LocalDomain& local() const { return local_; }
  Domain domain() const { return local_.domain(); }

  /// order()[internal number] = the caller's number, of the owned atoms. The domain has internal numbers, which follow the atoms in space.
  const std::vector<int>& order() const { return order_; }

  std::int64_t updates() const { return updates_; }
  std::int64_t rebuilds() const { return rebuilds_; }

 private:
  bool still_complete(int n, const double* positions, const Cell& cell, ThreadPool& pool);
  void rebuild(int n, const double* positions, const Cell& cell, int process, ThreadPool& pool);

  double long_cutoff_, skin_;
  LocalDomain local_;
  std::vector<int> order_;
  std::vector<AtomOwner> owners_;

  bool built_ = false;
  ListAge age_;
  std::int64_t updates_ = 0;
  std::int64_t rebuilds_ = 0;
};

}  // namespace so3md
