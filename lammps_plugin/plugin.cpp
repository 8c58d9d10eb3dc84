// Registration with LAMMPS: the one function that the library exports.
#include "compute_heat_flux.h"
#include "compute_of_atoms.h"
#include "compute_polarization_current.h"
#include "error.h"
#include "host_check.h"
#include "lammps.h"
#include "pair_so3krates.h"

namespace {

// The header with this struct is not part of an installed LAMMPS; the members are those of the manual's page on writing plugins, in the
// order of that page's table.
struct PluginDescription {
  const char* version;
  const char* style;
  const char* name;
  const char* info;
  const char* author;
  void* creator;  // a union of pointers to functions in LAMMPS
  void* handle;
};

using Register = void(PluginDescription*, void*);

void require_known_host(LAMMPS_NS::LAMMPS* lammps) {
  const std::string mismatch = so3md::mismatch_with_host(lammps);
  if (!mismatch.empty()) lammps->error->all(FLERR, mismatch);
}

LAMMPS_NS::Pair* create_pair(LAMMPS_NS::LAMMPS* lammps) {
  require_known_host(lammps);
  return new so3md::PairSo3krates(lammps);
}

template <class Compute>
LAMMPS_NS::Compute* create_compute(LAMMPS_NS::LAMMPS* lammps, int count, char** words) {
  require_known_host(lammps);
  return new Compute(lammps, count, words);
}

}  // namespace

extern "C" __attribute__((visibility("default"))) void lammpsplugin_init(void* lammps, void* handle, void* register_plugin) {
  PluginDescription plugin{};
  plugin.version = so3md::compiled_lammps_version();
  plugin.author = "The so3md developers";
  plugin.handle = handle;

  plugin.style = "pair";
  plugin.name = "so3krates";
  plugin.info = "So3krates force fields, so3md " SO3MD_VERSION;
  plugin.creator = reinterpret_cast<void*>(&create_pair);
  reinterpret_cast<Register*>(register_plugin)(&plugin, lammps);

  plugin.style = "compute";
  plugin.name = "so3krates/heat/flux";
  plugin.info = "Heat flux of So3krates force fields, so3md " SO3MD_VERSION;
  plugin.creator = reinterpret_cast<void*>(&create_compute<so3md::ComputeHeatFlux>);
  reinterpret_cast<Register*>(register_plugin)(&plugin, lammps);

  plugin.name = "so3krates/atom";
  plugin.info = "Quantities of atoms of So3krates force fields, so3md " SO3MD_VERSION;
  plugin.creator = reinterpret_cast<void*>(&create_compute<so3md::ComputeOfAtoms>);
  reinterpret_cast<Register*>(register_plugin)(&plugin, lammps);

  plugin.name = "so3krates/polarization/current";
  plugin.info = "Current of polarization of So3krates force fields, so3md " SO3MD_VERSION;
  plugin.creator = reinterpret_cast<void*>(&create_compute<so3md::ComputePolarizationCurrent>);
  reinterpret_cast<Register*>(register_plugin)(&plugin, lammps);
}
