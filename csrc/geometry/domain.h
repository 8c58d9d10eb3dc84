// The atoms that one process works on, with their neighbour lists: what a host hands to the engine.
#pragma once

#include <cstdint>

namespace so3md {

/// A view; the host or the neighbour list owns the memory.
///
/// *Sites* are points in space: the owned atoms first, then every periodic image or ghost that a list refers to.
/// *Slots* are rows of features: the owned atoms first, then one row for each distinct atom that another process owns: first the near
/// ones, which are in a short list, then the far ones, which are only in long lists and need no features, just a few numbers.
/// A periodic image of an owned atom has a site of its own but shares the owner's slot, so that images cost nothing
/// in the network.
///
/// Lists are full: a pair of owned atoms stands in the list of both. Pairs with another process's atom are evaluated by both processes,
/// each for its own atom, which needs no reverse exchange.
struct Domain {
  int n_owned = 0;
  int n_interior = 0;  ///< the first so many owned atoms have no atom of another process in their short list
  int n_near = 0;      ///< distinct atoms of other processes in short lists
  int n_far = 0;       ///< distinct atoms of other processes that are in long lists only
  int n_sites = 0;
  std::int64_t build = 0;             ///< number of the lists: two domains with the same one have the same lists; 0: unknown
  const int* slot = nullptr;          ///< [n_sites] slot of a site; slot[i] == i for owned atoms
  const double* positions = nullptr;  ///< [n_sites][3], A
  /// [n_owned][3], A: the owned atoms along their paths, where those of sites are moved by lattice vectors. Null: unknown.
  const double* unwrapped = nullptr;

  /// Neighbour sites of owned atom i: sites[offsets[i]] .. sites[offsets[i + 1] - 1]. May hold sites beyond the cutoff (skin).
  const std::int64_t* short_offsets = nullptr;  ///< [n_owned + 1]
  const int* short_sites = nullptr;
  const std::int64_t* long_offsets = nullptr;  ///< null: every other site is a neighbour (no cutoff, no images)
  const int* long_sites = nullptr;

  int n_feature_slots() const { return n_owned + n_near; }
  int n_slots() const { return n_owned + n_near + n_far; }
};

}  // namespace so3md
