// The file of uncertainties, and the end of a run at which they are too large.
#pragma once

#include <cstdio>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lmptype.h"
#include "pair_settings.h"

namespace LAMMPS_NS {
class LAMMPS;
}

namespace so3md {

/// Uncertainties of the forces on all atoms of the model, in LAMMPS's unit, on all processes.
struct UncertaintyOfForces {
  double largest = 0.0, smallest = 0.0, mean = 0.0;
  double atoms = 0.0;          ///< how many
  LAMMPS_NS::tagint atom = 0;  ///< with the largest; 0 where atoms have no tags
};

class UncertaintyOutput {
 public:
  /// Collective. `goes_on`: after a restart file, whose run the file may be of; it is not begun anew then.
  UncertaintyOutput(LAMMPS_NS::LAMMPS* lammps, UncertaintySettings settings, bool goes_on);

  /// Whether this step needs look() even if nothing else does.
  bool is_due() const;

  /// Collective. `values`: of the `owned` atoms (indices) of this process, in LAMMPS's unit of force.
  UncertaintyOfForces look(std::span<const double> values, std::span<const int> owned) const;

  /// Collective. Writes a row where one is due, and ends the run above the threshold. `member_virials` ([members][9]): those of this
  /// process in LAMMPS's unit of energy, of several models; else empty.
  void handle(const UncertaintyOfForces& found, const std::vector<double>& member_virials);

 private:
  struct Close {
    void operator()(FILE* file) const { std::fclose(file); }
  };

  bool row_is_due() const;
  void open(bool of_several);
  void write_row(const UncertaintyOfForces& found, const std::vector<double>& virials);
  void end_run(const UncertaintyOfForces& found);

  LAMMPS_NS::LAMMPS* lammps_;
  UncertaintySettings settings_;
  bool goes_on_;
  std::unique_ptr<FILE, Close> file_;    // on process 0
  LAMMPS_NS::bigint last_written_ = -1;  // step
};

}  // namespace so3md
