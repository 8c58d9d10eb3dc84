// Failures of one process made failures of all: a process that stopped alone would leave the others waiting for it.
#pragma once

#include <exception>
#include <string>
#include <type_traits>

#include "lammps.h"

namespace so3md {

/// Collective. Ends the run on all processes with LAMMPS's error, and the message of the lowest process that failed, if any did. Otherwise
/// returns the notices (bits) of all processes.
int stop_if_any_failed(LAMMPS_NS::LAMMPS* lammps, bool failed, const std::string& message, int notices = 0);

/// Collective. Runs `work`, which must not call MPI or LAMMPS's own errors; if it throws on any process, all end with one message. What it
/// returns, if anything, are notices: bits, of which all processes get those of all.
template <class Work>
int collectively(LAMMPS_NS::LAMMPS* lammps, const Work& work) {
  bool failed = false;
  int notices = 0;
  std::string message;
  try {
    if constexpr (std::is_void_v<decltype(work())>)
      work();
    else
      notices = work();
  } catch (const std::exception& error) {
    failed = true;
    message = error.what();
  }
  return stop_if_any_failed(lammps, failed, message, notices);
}

}  // namespace so3md
