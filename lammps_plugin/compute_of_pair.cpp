#include "compute_of_pair.h"

#include "error.h"
#include "force.h"
#include "pair_so3krates.h"
#include "utils.h"

namespace so3md {

bool ComputeOfPair::take_number(const char* word) {
  if (!LAMMPS_NS::utils::is_integer(word)) return false;
  number_ = LAMMPS_NS::utils::inumeric(FLERR, word, false, lmp);
  if (number_ < 1)
    stop("expected 1, 2, 3, ..., the number of the style so3krates among those of a hybrid style, found " + std::to_string(number_));
  return true;
}

void ComputeOfPair::init() {
  const std::string found = obstacle(pair_style());
  if (!found.empty()) stop(found);
}

// The pair style may have been given anew since init(), and bring its own.
PairSo3krates& ComputeOfPair::pair_style() const {
  if (auto* pair = dynamic_cast<PairSo3krates*>(force->pair_match("so3krates", 1, number_))) return *pair;
  if (force->pair_match("so3krates", 1, 1) == nullptr) stop("it needs pair_style so3krates");
  if (number_ > 0) stop("the hybrid style has fewer than " + std::to_string(number_) + " styles so3krates");
  stop("the hybrid style has so3krates more than once: give the number of the one that is meant, as in compute ID group " +
       std::string(style) + " 2");
}

PairSo3krates& ComputeOfPair::evaluated_pair_style(const std::string& what) const {
  PairSo3krates& pair = pair_style();
  if (!pair.is_evaluated()) stop("the forces of this step are not known: ask for it in steps of a run, or after run 0");
  pair.require_evaluated_atoms(what);
  return pair;
}

void ComputeOfPair::stop(const std::string& message) const { error->all(FLERR, "Compute " + std::string(style) + ": " + message); }

}  // namespace so3md
