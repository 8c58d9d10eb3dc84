#include "compute_of_atoms.h"

#include <algorithm>
#include <array>

#include "atom.h"
#include "memory.h"
#include "pair_so3krates.h"
#include "update.h"

namespace so3md {

namespace {

constexpr std::array kQuantities{"charge", "hirshfeld_ratio", "uncertainty"};

}  // namespace

ComputeOfAtoms::ComputeOfAtoms(LAMMPS_NS::LAMMPS* lammps, int count, char** words) : ComputeOfPair(lammps, count, words) {
  quantity_ = count > 3 ? words[3] : "";
  if (std::find(kQuantities.begin(), kQuantities.end(), quantity_) == kQuantities.end())
    stop("expected charge, hirshfeld_ratio or uncertainty, found '" + quantity_ + "'");
  const int next = count > 4 && take_number(words[4]) ? 5 : 4;
  if (count > next) stop("unknown keyword '" + std::string(words[next]) + "'; there are none");
  peratom_flag = 1;
  size_peratom_cols = 0;
}

ComputeOfAtoms::~ComputeOfAtoms() { memory->destroy(vector_atom); }

std::string ComputeOfAtoms::obstacle(const PairSo3krates& pair) const {
  return pair.gives(quantity_) ? "" : "the pair style has no " + quantity_ + " with this model";
}

void ComputeOfAtoms::compute_peratom() {
  invoked_peratom = update->ntimestep;
  PairSo3krates& pair = evaluated_pair_style(quantity_);
  if (atom->nmax > room_) {
    room_ = atom->nmax;
    memory->destroy(vector_atom);
    memory->create(vector_atom, room_, "so3krates/atom:vector_atom");
  }
  int columns = 0;
  const auto* values = static_cast<const double*>(pair.extract_peratom(quantity_.c_str(), columns));
  std::fill_n(vector_atom, atom->nlocal, 0.0);
  for (int i : pair.owned_atoms())
    if (atom->mask[i] & groupbit) vector_atom[i] = values[i];
}

double ComputeOfAtoms::memory_usage() { return sizeof(double) * static_cast<double>(room_); }

}  // namespace so3md
