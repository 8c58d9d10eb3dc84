#include "compute_of_pair.h"

#include "error.h"
#include "force.h"
#include "pair_so3krates.h"

namespace so3md {

void ComputeOfPair::init() {
  const std::string found = obstacle(pair_style());
  if (!found.empty()) stop(found);
}

// The pair style may have been given anew since init(), and bring its own.
PairSo3krates& ComputeOfPair::pair_style() const {
  auto* pair = dynamic_cast<PairSo3krates*>(force->pair_match("so3krates", 1));
  if (pair == nullptr) stop("it needs pair_style so3krates");
  return *pair;
}

PairSo3krates& ComputeOfPair::evaluated_pair_style(const std::string& what) const {
  PairSo3krates& pair = pair_style();
  if (!pair.is_evaluated()) stop("the forces of this step are not known: ask for it in steps of a run, or after run 0");
  pair.require_evaluated_atoms(what);
  return pair;
}

void ComputeOfPair::stop(const std::string& message) const { error->all(FLERR, "Compute " + std::string(style) + ": " + message); }

}  // namespace so3md
