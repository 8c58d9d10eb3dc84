// What the command `pair_style so3krates` says.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "evaluation/engine.h"

namespace LAMMPS_NS {
class LAMMPS;
}

namespace so3md {

/// What is done with the uncertainty of forces.
struct UncertaintySettings {
  std::string file;                 ///< that gets a row every `interval` steps; empty: none
  int interval = 100;               ///< steps
  std::optional<double> threshold;  ///< largest one, in LAMMPS's unit of force, above which a run ends
  bool asked() const { return !file.empty() || threshold.has_value(); }
};

struct PairSettings {
  std::vector<std::string> models;              ///< names or paths, as given; at least one
  SystemTotals totals;                          ///< of all atoms that the pair style works on
  EngineOptions engine;                         ///< its long-range lengths are the pair style's to set
  std::optional<double> lr_cutoff, lr_damping;  ///< A, infinity: none; if they are not given, those of the model
  bool device_by_number = false;                ///< one GPU was chosen; else the processes of a machine take its GPUs in turn
  bool kspace = false;                          ///< charges interact through LAMMPS's kspace style
  int threads = 1;                              ///< of each process
  UncertaintySettings uncertainty;
  std::string models_text() const;  ///< as given, with commas
};

/// From the words after `pair_style so3krates`: models up to the first keyword. Collective: ends the run with LAMMPS's error where the
/// words make no sense, saying what was expected and what was found.
PairSettings parse_settings(int count, char** words, LAMMPS_NS::LAMMPS* lammps);

/// Of pair_style so3krates, with commas.
std::string known_keywords();

}  // namespace so3md
