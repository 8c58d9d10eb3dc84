// Elements in messages.
#pragma once

#include <array>
#include <string>

namespace so3md {

/// The symbol of an element by its atomic number, 1 to 118; "X", a dummy atom, for 0; empty for other numbers.
inline std::string element_symbol(int atomic_number) {
  static constexpr std::array<const char*, 119> symbols = {
      "X",  "H",  "He", "Li", "Be", "B",  "C",  "N",  "O",  "F",  "Ne", "Na", "Mg", "Al", "Si", "P",  "S",  "Cl", "Ar", "K",
      "Ca", "Sc", "Ti", "V",  "Cr", "Mn", "Fe", "Co", "Ni", "Cu", "Zn", "Ga", "Ge", "As", "Se", "Br", "Kr", "Rb", "Sr", "Y",
      "Zr", "Nb", "Mo", "Tc", "Ru", "Rh", "Pd", "Ag", "Cd", "In", "Sn", "Sb", "Te", "I",  "Xe", "Cs", "Ba", "La", "Ce", "Pr",
      "Nd", "Pm", "Sm", "Eu", "Gd", "Tb", "Dy", "Ho", "Er", "Tm", "Yb", "Lu", "Hf", "Ta", "W",  "Re", "Os", "Ir", "Pt", "Au",
      "Hg", "Tl", "Pb", "Bi", "Po", "At", "Rn", "Fr", "Ra", "Ac", "Th", "Pa", "U",  "Np", "Pu", "Am", "Cm", "Bk", "Cf", "Es",
      "Fm", "Md", "No", "Lr", "Rf", "Db", "Sg", "Bh", "Hs", "Mt", "Ds", "Rg", "Cn", "Nh", "Fl", "Mc", "Lv", "Ts", "Og"};
  if (atomic_number < 0 || atomic_number >= static_cast<int>(symbols.size())) return "";
  return symbols[static_cast<std::size_t>(atomic_number)];
}

/// What the atom of a message is: "U (atomic number 92)".
inline std::string element_text(int atomic_number) {
  const std::string symbol = element_symbol(atomic_number), number = std::to_string(atomic_number);
  if (symbol.empty()) return "no element (atomic number " + number + ")";
  return symbol + " (" + (atomic_number == 0 ? "a dummy atom, " : "") + "atomic number " + number + ")";
}

}  // namespace so3md
