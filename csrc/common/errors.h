// What the engine throws beside std::invalid_argument, which is for input that cannot be used, with a finished message.
#pragma once

#include <stdexcept>

namespace so3md {

/// A model file that cannot be used; the message says what was expected, what was found and what to do.
class ModelError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Two atoms at the same place; the numbers are those of the domain.
class OverlappingAtoms : public std::runtime_error {
 public:
  OverlappingAtoms(int atom, int neighbour_slot, double distance_found)
      : std::runtime_error("two atoms at the same place"), i(atom), slot(neighbour_slot), distance(distance_found) {}
  int i;
  int slot;
  double distance;
};

/// Lists that do not fit into the memory of this process, with a finished message.
class ListsTooLarge : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

/// On the processes that did not fail, when another one did.
class FailedElsewhere : public std::runtime_error {
 public:
  FailedElsewhere() : std::runtime_error("the evaluation failed on another process") {}
};

}  // namespace so3md
