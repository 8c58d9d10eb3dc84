// Whether the mass of an atom type fits the element that pair_coeff gives it.
#pragma once

#include <string>

namespace so3md {

struct MassCheck {
  bool wrong = false;   ///< it fits no isotope of the element, or fits another element
  std::string message;  ///< empty if there is nothing to say
};

/// `mass` in g/mol, LAMMPS's unit in metal and real.
MassCheck check_mass(int atomic_number, double mass);

}  // namespace so3md
