// What the computes of the plugin share: the pair style that they ask, and when it can answer.
#pragma once

#include <string>

#include "compute.h"

namespace so3md {

class PairSo3krates;

class ComputeOfPair : public LAMMPS_NS::Compute {
 public:
  ComputeOfPair(LAMMPS_NS::LAMMPS* lammps, int count, char** words) : Compute(lammps, count, words) {}

  void init() override;

 protected:
  /// What stands in the way with this pair style; empty if nothing does.
  virtual std::string obstacle(const PairSo3krates& pair) const = 0;

  /// Which of the styles so3krates of a hybrid style is asked, from 1, as LAMMPS's compute pair is told. False if the word is no number.
  bool take_number(const char* word);

  PairSo3krates& pair_style() const;

  /// The pair style, once it is sure that the atoms are those of this step's forces; `what` the message names.
  PairSo3krates& evaluated_pair_style(const std::string& what) const;

  [[noreturn]] void stop(const std::string& message) const;  ///< collective

 private:
  int number_ = 0;  ///< 0: there is one only
};

}  // namespace so3md
