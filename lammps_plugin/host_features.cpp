#include "host_features.h"

#include <algorithm>
#include <array>
#include <string>

#include "atom.h"
#include "comm.h"
#include "error.h"
#include "exclusions.h"
#include "fix.h"
#include "force.h"
#include "lammps.h"
#include "modify.h"
#include "update.h"

namespace so3md {

namespace {

constexpr std::array<const char*, 3> kRunStyles{"verlet", "respa", "respa/omp"};
constexpr std::array<const char*, 5> kHybridStyles{"hybrid", "hybrid/omp", "hybrid/overlay", "hybrid/overlay/omp", "hybrid/scaled"};

// Pair styles, by parts of their names, that look at charges.
constexpr std::array<const char*, 8> kChargedPairs{"coul", "tip4p", "dipole", "thole", "comb", "reaxff", "smtbq", "eff/cut"};

constexpr const char* kActs = "acts on charges as if they were constants, and the model predicts them from the positions: ";
constexpr const char* kSets = "sets charges, which the model predicts: ";

struct FixRule {
  const char* part;  ///< of the name of the fix
  const char* why;
  const char* remedy;
  bool anywhere;  ///< whatever its group; otherwise a group without atoms of the model is fine
};

constexpr std::array<FixRule, 9> kFixes{{
    {"efield", kActs,
     "forces would be far from the derivative of the energy. Give electric_field X Y Z on the line of pair_style so3krates in its place, "
     "or "
     "give it a group without atoms of the model; constant forces are fix addforce",
     false},
    {"polarize/", kActs, "remove it", true},
    {"electrode/", kActs, "remove it", true},
    {"qeq/", kSets, "remove it, or give it a group without atoms of the model", false},
    {"acks2/", kSets, "remove it, or give it a group without atoms of the model", false},
    {"qtpie/", kSets, "remove it, or give it a group without atoms of the model", false},
    {"drude", kActs, "remove it, or give it a group without atoms of the model", false},
    {"charge/regulation", "adds and removes charges, and the total charge of the model is the one on the pair_style line: ", "remove it",
     true},
    {"tune/kspace", "makes pair styles anew with other cutoffs: ", "remove it", true},
}};

template <std::size_t N>
bool is_one_of(const std::string& name, const std::array<const char*, N>& names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

[[noreturn]] void stop(LAMMPS_NS::LAMMPS* lammps, const std::string& message) {
  lammps->error->all(FLERR, "Pair style so3krates: " + message);
}

// What comm_modify says is protected, yet part of the interface to derived classes.
struct CommAccess : LAMMPS_NS::Comm {
  static bool leaves_ghosts_out(const LAMMPS_NS::Comm& comm) {
    return comm.*(&CommAccess::bordergroup) != 0 || comm.*(&CommAccess::multi_reduce) != 0;
  }
};

// Returns whether it would be an error if its group had atoms of the model.
bool check_fix(LAMMPS_NS::LAMMPS* lammps, const LAMMPS_NS::Fix& fix, int groups) {
  const std::string style = fix.style;
  bool minds_group = false;
  for (const FixRule& rule : kFixes) {
    if (style.find(rule.part) == std::string::npos) continue;
    minds_group = true;
    if (rule.anywhere || (fix.groupbit & groups)) stop(lammps, "fix " + std::string(fix.id) + " " + style + " " + rule.why + rule.remedy);
  }
  return minds_group;
}

std::string types_of_model(const LAMMPS_NS::Pair& pair, const std::vector<int>& species_of_type) {
  std::string types;
  if (!pair.allocated) return types;
  const int last = static_cast<int>(species_of_type.size()) - 1;
  for (int i = 1; i <= last; ++i) {
    bool handled = false;
    for (int j = 1; j <= last; ++j) handled = handled || pair.setflag[std::min(i, j)][std::max(i, j)] != 0;
    if (handled && species_of_type[static_cast<std::size_t>(i)] >= 0) types.append(" ").append(std::to_string(i));
  }
  return types;
}

}  // namespace

void check_wrappers(LAMMPS_NS::LAMMPS* lammps, const LAMMPS_NS::Pair& pair) {
  const std::string run_style = lammps->update->integrate_style, pair_style = lammps->force->pair_style;
  if (!is_one_of(run_style, kRunStyles))
    stop(lammps, "it works with the run styles verlet and respa, and this is " + run_style + ": use run_style verlet");
  if (lammps->force->pair != &pair && !is_one_of(pair_style, kHybridStyles))
    stop(lammps,
         "it works by itself or within hybrid, hybrid/overlay and hybrid/scaled, and this is " + pair_style + ": use hybrid/overlay");
  // Respa leaves a hybrid style with the pair styles of one level alone, and a minimiser does not set it right. Whether there are levels
  // of pair styles is not to be seen from here.
  if (lammps->update->whichflag == 2 && lammps->force->pair != &pair && run_style != "verlet")
    stop(lammps,
         "minimize and fix box/relax would have the forces of one level of " + run_style + " alone: put run_style verlet before them");
  if (CommAccess::leaves_ghosts_out(*lammps->comm))
    stop(lammps, "it needs all ghost atoms within its cutoff: remove comm_modify group or comm_modify reduce/multi");
}

bool check_charges_of_fixes(LAMMPS_NS::LAMMPS* lammps, const std::vector<int>& species_of_type) {
  const int groups = groups_of_model(lammps, species_of_type);
  bool any = false;
  for (const LAMMPS_NS::Fix* fix : lammps->modify->get_fix_list()) any = check_fix(lammps, *fix, groups) || any;
  return any;
}

void check_charges_of_pairs(LAMMPS_NS::LAMMPS* lammps, const std::vector<int>& species_of_type) {
  LAMMPS_NS::Force& force = *lammps->force;
  for (const char* part : kChargedPairs)
    for (int count = 1; const LAMMPS_NS::Pair* pair = force.pair_match(part, 0, count); ++count) {
      const std::string types = types_of_model(*pair, species_of_type);
      if (!types.empty())
        stop(lammps, std::string("pair style ") + force.pair_match_ptr(const_cast<LAMMPS_NS::Pair*>(pair)) + ", given for the types" +
                         types + " of the model, " + kActs +
                         "its forces would not be the derivative of the energy. Use a style without charges for these types, such as "
                         "lj/cut; the model has its own electrostatics");
      if (pair == force.pair_match(part, 0, count + 1)) break;  // a style that is the only one is found for any count
    }
}

namespace {

bool any_fix(LAMMPS_NS::LAMMPS* lammps, std::initializer_list<const char*> parts) {
  const auto& fixes = lammps->modify->get_fix_list();
  return std::any_of(fixes.begin(), fixes.end(), [&](const LAMMPS_NS::Fix* fix) {
    return std::any_of(parts.begin(), parts.end(),
                       [&](const char* part) { return std::string(fix->style).find(part) != std::string::npos; });
  });
}

}  // namespace

bool fixes_move_charges(LAMMPS_NS::LAMMPS* lammps) { return any_fix(lammps, {"/swap", "hmc", "gcmc", "widom", "tfmc"}); }

bool fixes_need_equal_charges(LAMMPS_NS::LAMMPS* lammps) { return any_fix(lammps, {"atom/swap", "mol/swap", "neighbor/swap"}); }

}  // namespace so3md
