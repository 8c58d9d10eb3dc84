// What the command `pair_style so3krates` says.
#pragma once

#include <optional>
#include <string>

#include "evaluation/engine.h"

namespace LAMMPS_NS {
class LAMMPS;
}

namespace so3md {

struct PairSettings {
  std::string model;                            ///< name or path, as given
  SystemTotals totals;                          ///< of all atoms that the pair style works on
  EngineOptions engine;                         ///< its long-range lengths are the pair style's to set
  std::optional<double> lr_cutoff, lr_damping;  ///< A, infinity: none; if they are not given, those of the model
  bool device_by_number = false;                ///< one GPU was chosen; else the processes of a machine take its GPUs in turn
  bool kspace = false;                          ///< charges interact through LAMMPS's kspace style
  int threads = 1;                              ///< of each process
};

/// From the words after `pair_style so3krates`. Collective: ends the run with LAMMPS's error where the words make no sense, saying what
/// was expected and what was found.
PairSettings parse_settings(int count, char** words, LAMMPS_NS::LAMMPS* lammps);

}  // namespace so3md
