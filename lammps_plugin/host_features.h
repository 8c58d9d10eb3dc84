// Which features of LAMMPS go with this pair style: those that were tried. Others are refused by name.
#pragma once

#include <vector>

#include "pair.h"

namespace so3md {

/// Ends the run with LAMMPS's error for a run style, a hybrid pair style or ghosts of another kind than those that were tried: they may
/// scale, split or use anew what the style computes. Collective.
void check_wrappers(LAMMPS_NS::LAMMPS* lammps, const LAMMPS_NS::Pair& pair);

/// Ends the run with LAMMPS's error for pair styles that act on the charges of atoms of the model as if they were constants. Collective.
/// `species_of_type`: by LAMMPS's type, from 1; -1 for types that the model does not see.
void check_charges_of_pairs(LAMMPS_NS::LAMMPS* lammps, const std::vector<int>& species_of_type);

/// The same for fixes that act on charges so, or that set them. Returns whether there is one whose group has no atom of the model now: it
/// may get some later. Collective.
bool check_charges_of_fixes(LAMMPS_NS::LAMMPS* lammps, const std::vector<int>& species_of_type);

/// Whether a fix takes charges from one atom to another, or back to earlier ones, between two evaluations.
bool fixes_move_charges(LAMMPS_NS::LAMMPS* lammps);

/// Whether a fix needs all atoms of a type to have one charge at the start of a run.
bool fixes_need_equal_charges(LAMMPS_NS::LAMMPS* lammps);

}  // namespace so3md
