// Failures of one process made failures of all: a process that stopped alone would leave the others waiting for it.
#pragma once

#include <exception>
#include <string>

#include "lammps.h"

namespace so3md {

/// Collective. Ends the run on all processes with LAMMPS's error, and the message of the lowest process that failed, if any did.
void stop_if_any_failed(LAMMPS_NS::LAMMPS* lammps, bool failed, const std::string& message);

/// Collective. Runs `work`, which must not call MPI or LAMMPS's own errors; if it throws on any process, all end with one message.
template <class Work>
void collectively(LAMMPS_NS::LAMMPS* lammps, const Work& work) {
  bool failed = false;
  std::string message;
  try {
    work();
  } catch (const std::exception& error) {
    failed = true;
    message = error.what();
  }
  stop_if_any_failed(lammps, failed, message);
}

}  // namespace so3md
