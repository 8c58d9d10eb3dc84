// Whose atom a point in space shows.
#pragma once

namespace so3md {

/// The process that owns an atom, and the number of the atom's point there.
struct AtomOwner {
  int process = 0;
  int point = 0;
  bool operator==(const AtomOwner&) const = default;
};

}  // namespace so3md
