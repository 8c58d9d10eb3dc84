#include "atomic_masses.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "common/number_text.h"
#include "elements.h"

namespace so3md {

namespace {

// IUPAC 2016, g/mol, by atomic number; of the longest-lived isotope where there is no natural mixture.
constexpr std::array<double, 118> kMasses{
    {1.008,   4.0026,  6.94,    9.0122,  10.81,   12.011,  14.007,  15.999,  18.998,  20.18,   22.99,   24.305,  26.982,  28.085,  30.974,
     32.06,   35.45,   39.948,  39.098,  40.078,  44.956,  47.867,  50.941,  51.996,  54.938,  55.845,  58.933,  58.693,  63.546,  65.38,
     69.723,  72.63,   74.922,  78.971,  79.904,  83.798,  85.468,  87.62,   88.906,  91.224,  92.906,  95.95,   97.907,  101.07,  102.906,
     106.42,  107.868, 112.414, 114.818, 118.71,  121.76,  127.6,   126.904, 131.293, 132.905, 137.327, 138.905, 140.116, 140.908, 144.242,
     144.913, 150.36,  151.964, 157.25,  158.925, 162.5,   164.93,  167.259, 168.934, 173.054, 174.967, 178.49,  180.948, 183.84,  186.207,
     190.23,  192.217, 195.084, 196.967, 200.592, 204.38,  207.2,   208.98,  208.982, 209.987, 222.018, 223.02,  226.025, 227.028, 232.038,
     231.036, 238.029, 237.048, 244.064, 243.061, 247.07,  247.07,  251.08,  252.083, 257.095, 258.098, 259.101, 262.11,  267.122, 268.126,
     271.134, 270.133, 269.134, 278.156, 281.165, 281.166, 285.177, 286.182, 289.19,  289.194, 293.204, 293.208, 294.214}};

// Data files give masses with few digits: 12.0 for carbon, 1.0 for hydrogen.
constexpr double kRounding = 0.06, kRelativeRounding = 0.003;

// Isotopes of one element differ by whole numbers of neutrons, nearly.
constexpr double kIsotopeRounding = 0.06;
constexpr double kMostNeutrons = 2.1;

double mass_of(int atomic_number) { return kMasses.at(static_cast<std::size_t>(atomic_number - 1)); }

bool fits(double mass, int atomic_number) {
  const double expected = mass_of(atomic_number);
  return std::abs(mass - expected) < std::max(kRounding, kRelativeRounding * expected);
}

int element_with_mass(double mass) {
  for (int number = 1; number <= static_cast<int>(kMasses.size()); ++number)
    if (fits(mass, number)) return number;
  return 0;
}

}  // namespace

MassCheck check_mass(int atomic_number, double mass) {
  if (fits(mass, atomic_number)) return {};
  const std::string symbol = element_symbol(atomic_number);
  const std::string found = "a mass of " + number_text(mass) + " for " + symbol;
  const int other = element_with_mass(mass);
  const bool whole = std::abs(mass - std::round(mass)) < kIsotopeRounding;
  if (other == 0 && whole && mass > 0.5 && std::abs(mass - mass_of(atomic_number)) < kMostNeutrons)
    return {false, found + " is taken for an isotope"};
  std::string message = found + ", which weighs " + number_text(mass_of(atomic_number)) + " g/mol";
  if (other > 0) message += "; " + number_text(mass) + " is " + element_symbol(other);
  return {true, message + ": check the order of the elements on pair_coeff, and the masses"};
}

}  // namespace so3md
