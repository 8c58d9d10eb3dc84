#include "local_atoms.h"

#include <algorithm>
#include <array>
#include <stdexcept>
#include <string>

#include "atom.h"
#include "common/index.h"

namespace so3md {

namespace {

constexpr std::array<double, 9> kNoVectors{};

}  // namespace

LocalAtoms::LocalAtoms(std::vector<int> species_of_type, double short_radius, double long_radius)
    : species_of_type_(std::move(species_of_type)),
      domain_(short_radius, long_radius),
      no_cell_(kNoVectors.data(), {false, false, false}) {}

void LocalAtoms::number_points(const LAMMPS_NS::Atom& atom, int process) { number_points(atom, process, atom.nlocal + atom.nghost); }

void LocalAtoms::take_own_atoms(const LAMMPS_NS::Atom& atom, int process) {
  number_points(atom, process, atom.nlocal);
  index_of_slot_ = index_of_point_;
  n_owned_ = index_of_slot_.size();
}

void LocalAtoms::number_points(const LAMMPS_NS::Atom& atom, int process, int count) {
  n_local_ = atom.nlocal;
  n_ghost_ = atom.nghost;
  n_numbered_ = count;
  index_of_point_.clear();
  owners_.assign(index_of(n_local_ + n_ghost_), {});
  for (int index = 0; index < count; ++index) {
    if (species_of_type_[index_of(atom.type[index])] < 0 || atom.mask[index] & hidden_groups_) continue;
    owners_[index_of(index)] = {process, static_cast<int>(index_of_point_.size())};
    index_of_point_.push_back(index);
  }
}

const double* LocalAtoms::positions(const LAMMPS_NS::Atom& atom) {
  const bool all = static_cast<int>(index_of_point_.size()) == n_numbered_;
  if (all && !index_of_point_.empty()) return atom.x[0];
  point_positions_.clear();
  for (int index : index_of_point_) point_positions_.insert(point_positions_.end(), atom.x[index], atom.x[index] + 3);
  return point_positions_.data();
}

void LocalAtoms::list_point_owners() {
  point_owners_.clear();
  for (int index : index_of_point_) point_owners_.push_back(owners_[index_of(index)]);
}

// Own atoms have lower indices than ghosts.
void LocalAtoms::take_points() {
  list_point_owners();
  index_of_slot_ = index_of_point_;
  const auto first_ghost = std::lower_bound(index_of_point_.begin(), index_of_point_.end(), n_local_);
  n_owned_ = static_cast<std::size_t>(first_ghost - index_of_point_.begin());
}

void LocalAtoms::build_lists(const LAMMPS_NS::Atom& atom, int process, ThreadPool& pool) {
  list_point_owners();
  domain_.build(static_cast<int>(index_of_point_.size()), positions(atom), no_cell_, point_owners_.data(), process, pool);
  index_of_slot_.clear();
  for (int point : domain_.point_of_slot()) index_of_slot_.push_back(index_of_point_[index_of(point)]);
  n_owned_ = index_of(domain_.domain().n_owned);
}

void LocalAtoms::place(const LAMMPS_NS::Atom& atom, ThreadPool& pool) { domain_.place(positions(atom), no_cell_, pool); }

bool LocalAtoms::update_species(const LAMMPS_NS::Atom& atom) {
  bool changed = species_.size() != index_of_slot_.size();
  species_.resize(index_of_slot_.size());
  for (std::size_t slot = 0; slot < index_of_slot_.size(); ++slot) {
    const int type = atom.type[index_of_slot_[slot]];
    changed = changed || species_[slot] != species_of_type_[index_of(type)];
    species_[slot] = species_of_type_[index_of(type)];
    if (species_[slot] < 0)
      throw std::runtime_error("an atom changed to type " + std::to_string(type) +
                               ", which has no element in pair_coeff, since the last neighbour list");
  }
  return changed;
}

void LocalAtoms::require_same_atoms(const LAMMPS_NS::Atom& atom) const {
  if (n_local_ != atom.nlocal || n_ghost_ != atom.nghost)
    throw std::runtime_error("atoms came or went since the last neighbour list: have LAMMPS build a new one first");
}

bool LocalAtoms::are_as_placed(const LAMMPS_NS::Atom& atom) const {
  if (n_local_ != atom.nlocal || n_ghost_ != atom.nghost) return false;
  const double* position = domain_.domain().positions;
  for (std::size_t row = 0; row < n_owned_; ++row, position += 3) {
    const int index = index_of_slot_[row];
    if (species_[row] != species_of_type_[index_of(atom.type[index])]) return false;
    if (!std::equal(position, position + 3, atom.x[index])) return false;
  }
  return true;
}

double LocalAtoms::memory() const {
  const auto bytes = [](const auto& values) { return static_cast<double>(values.capacity() * sizeof(values[0])); };
  double total = bytes(index_of_point_) + bytes(owners_) + bytes(point_owners_) + bytes(point_positions_) + bytes(index_of_slot_);
  for (const NeighbourRows& list : domain_.lists()) total += bytes(list.offsets) + bytes(list.sites);
  return total;
}

}  // namespace so3md
