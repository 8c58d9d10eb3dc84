// The atoms of LAMMPS as the engine sees them: which of them are points of the domain, and who owns them.
#pragma once

#include <span>
#include <vector>

#include "common/thread_pool.h"
#include "geometry/local_domain.h"
#include "lmptype.h"

namespace LAMMPS_NS {
class Atom;
}

namespace so3md {

/// Points are those atoms of a process, own and ghosts, whose type has an element; the others belong to other pair styles. An *index* is a
/// number of LAMMPS's arrays, a *point* counts the points in the order of the indices: the same thing where all types have an element.
class LocalAtoms {
 public:
  /// `species_of_type`: by LAMMPS's type, from 1; -1 for types without an element. Radii of the lists, with skin, A.
  LocalAtoms(std::vector<int> species_of_type, double short_radius, double long_radius);

  /// Atoms of groups with these bits are no points either, from the next numbering on.
  void hide(int groups) { hidden_groups_ = groups; }

  /// Numbers the points and enters the owners of the own atoms; those of ghosts come by way of owner(), from their processes.
  void number_points(const LAMMPS_NS::Atom& atom, int process);

  /// By index.
  AtomOwner& owner(int index) { return owners_[static_cast<std::size_t>(index)]; }

  /// In place of number_points() and build_lists(), for an engine that makes the lists itself and a process alone: the own atoms are the
  /// points, and ghosts are not looked at.
  void take_own_atoms(const LAMMPS_NS::Atom& atom, int process);

  /// In place of build_lists(), for such an engine: the points as they were numbered, the owned ones first.
  void take_points();

  /// For take_own_atoms() and take_points(): the number of points, and [n_points][3] their positions, valid until LAMMPS moves its arrays.
  int n_points() const { return static_cast<int>(index_of_point_.size()); }
  const double* positions(const LAMMPS_NS::Atom& atom);

  /// After take_points(): [n_points] whose atom each shows.
  std::span<const AtomOwner> point_owners() const { return point_owners_; }

  /// New neighbour lists. Throws std::exception.
  void build_lists(const LAMMPS_NS::Atom& atom, int process, ThreadPool& pool);

  /// New positions for the lists there are.
  void place(const LAMMPS_NS::Atom& atom, ThreadPool& pool);

  /// Atom types may change between neighbour lists: returns whether any did. Throws std::runtime_error if one has become one without an
  /// element.
  bool update_species(const LAMMPS_NS::Atom& atom);

  /// [n_slots]; of points, where the engine makes the lists
  const int* species() const { return species_.data(); }

  /// Throws std::runtime_error if LAMMPS's arrays are not those that the points were numbered for.
  void require_same_atoms(const LAMMPS_NS::Atom& atom) const;

  /// Whether LAMMPS's own atoms, their types and positions are those that place() and update_species() took.
  bool are_as_placed(const LAMMPS_NS::Atom& atom) const;

  const LocalDomain& local() const { return domain_; }

  /// [n_slots] an index that shows the atom of a slot; for owned atoms, in the order of the domain, their own. Of points, where the engine
  /// makes the lists.
  const std::vector<int>& index_of_slot() const { return index_of_slot_; }

  /// [n_owned] indices of the owned atoms in the order of the results.
  std::span<const int> owned() const { return {index_of_slot_.data(), n_owned_}; }

  double memory() const;  ///< bytes

 private:
  void number_points(const LAMMPS_NS::Atom& atom, int process, int count);
  void list_point_owners();

  std::vector<int> species_of_type_;
  LocalDomain domain_;
  Cell no_cell_;
  int hidden_groups_ = 0;
  int n_local_ = 0, n_ghost_ = 0;  // when the points were numbered
  int n_numbered_ = 0;             // indices among which the points are: with or without ghosts
  std::size_t n_owned_ = 0;
  std::vector<int> index_of_point_;
  std::vector<AtomOwner> owners_;        // by index
  std::vector<AtomOwner> point_owners_;  // by point
  std::vector<double> point_positions_;  // where not all atoms are points
  std::vector<int> index_of_slot_, species_;
};

}  // namespace so3md
