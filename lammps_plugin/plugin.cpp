// Registration with LAMMPS: the one function that the library exports.
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

LAMMPS_NS::Pair* create_pair(LAMMPS_NS::LAMMPS* lammps) {
  const std::string mismatch = so3md::mismatch_with_host(lammps);
  if (!mismatch.empty()) lammps->error->all(FLERR, mismatch);
  return new so3md::PairSo3krates(lammps);
}

}  // namespace

extern "C" __attribute__((visibility("default"))) void lammpsplugin_init(void* lammps, void* handle, void* register_plugin) {
  PluginDescription plugin{};
  plugin.version = so3md::compiled_lammps_version();
  plugin.style = "pair";
  plugin.name = "so3krates";
  plugin.info = "So3krates force fields, so3md " SO3MD_VERSION;
  plugin.author = "The so3md developers";
  plugin.creator = reinterpret_cast<void*>(&create_pair);
  plugin.handle = handle;
  reinterpret_cast<Register*>(register_plugin)(&plugin, lammps);
}
