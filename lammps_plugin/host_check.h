// Whether the LAMMPS that loaded the plugin is the one that it was compiled for.
#pragma once

#include <string>

namespace LAMMPS_NS {
class LAMMPS;
}

namespace so3md {

/// Release that the plugin was compiled for, as LAMMPS writes it, for example "22 Jul 2025".
const char* compiled_lammps_version();

/// What is wrong with this LAMMPS, as a finished message; empty if nothing is. A plugin shares classes with its host, so that another
/// release, another update of the same release, or other sizes of integers would make it read and write the wrong memory.
std::string mismatch_with_host(LAMMPS_NS::LAMMPS* lammps);

}  // namespace so3md
