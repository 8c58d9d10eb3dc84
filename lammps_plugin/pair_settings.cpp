#include "pair_settings.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <limits>
#include <utility>
#include <vector>

#include "error.h"
#include "lammps.h"
#include "utils.h"

namespace so3md {

namespace {

constexpr const char* kSyntax =
    "pair_style so3krates MODEL [charge Q] [spin S] [lr_cutoff R] [lr_damping D] [coulomb cut|ewald|kspace] [ewald_accuracy A] "
    "[ewald_method auto|sum|mesh] [dispersion_tail yes|no] [electric_field X Y Z] [precision mixed|double] "
    "[device cpu|cuda|cuda:N] [threads N]";

constexpr double kShortestLength = 1e-3, kLongestLength = 1e6;  // A, the bounds of the engine
constexpr double kLargestTotal = 1e6;                           // charge, e, and spin
constexpr double kLargestField = 100.0;                         // V/A, the bound of the engine
constexpr int kMostThreads = 1024;

// The only keyword with more than one value.
constexpr const char* kField = "electric_field";

class Parser {
 public:
  explicit Parser(LAMMPS_NS::LAMMPS* lammps) : lammps_(lammps) {}

  PairSettings parse(int count, char** words) {
    if (count < 1) stop(std::string("pair_style so3krates needs a model: ") + kSyntax);
    settings_.model = words[0];
    for (int at = 1; at < count; at += 2) {
      const std::string keyword = words[at];
      if (keyword == kField) {
        set_field({words + at + 1, words + std::min(count, at + 4)});
        at += 2;
        continue;
      }
      const auto setter = setter_of(keyword);
      if (at + 1 >= count) stop("pair_style so3krates: the keyword " + keyword + " needs a value: " + kSyntax);
      setter(words[at + 1]);
    }
    if (settings_.kspace && settings_.lr_cutoff && std::isinf(*settings_.lr_cutoff))
      stop("pair_style so3krates: lr_cutoff none is for systems without periodic directions, and coulomb kspace for periodic ones");
    return settings_;
  }

 private:
  using Setter = std::function<void(const std::string&)>;

  [[noreturn]] void stop(const std::string& message) { lammps_->error->all(FLERR, message); }

  [[noreturn]] void refuse(const std::string& keyword, const std::string& expected, const std::string& found) {
    stop("pair_style so3krates: " + keyword + ": expected " + expected + ", found " + found);
  }

  Setter setter_of(const std::string& keyword) {
    const std::array<std::pair<const char*, Setter>, 11> setters{{{"charge", [this](const auto& word) { set_charge(word); }},
                                                                  {"spin", [this](const auto& word) { set_spin(word); }},
                                                                  {"lr_cutoff", [this](const auto& word) { set_cutoff(word); }},
                                                                  {"lr_damping", [this](const auto& word) { set_damping(word); }},
                                                                  {"coulomb", [this](const auto& word) { set_coulomb(word); }},
                                                                  {"ewald_accuracy", [this](const auto& word) { set_accuracy(word); }},
                                                                  {"ewald_method", [this](const auto& word) { set_method(word); }},
                                                                  {"dispersion_tail", [this](const auto& word) { set_tail(word); }},
                                                                  {"precision", [this](const auto& word) { set_precision(word); }},
                                                                  {"device", [this](const auto& word) { set_device(word); }},
                                                                  {"threads", [this](const auto& word) { set_threads(word); }}}};
    std::string known;
    for (const auto& [name, setter] : setters) {
      if (keyword == name) return setter;
      known += std::string(name) + ", ";
    }
    stop("pair_style so3krates: unknown keyword '" + keyword + "'; the keywords are " + known + kField);
  }

  double number(const std::string& word) { return LAMMPS_NS::utils::numeric(FLERR, word, false, lammps_); }

  static bool is_length(double value) { return value >= kShortestLength && value <= kLongestLength; }

  void set_charge(const std::string& word) {
    settings_.totals.charge = number(word);
    if (!(std::abs(settings_.totals.charge) <= kLargestTotal) || settings_.totals.charge != std::round(settings_.totals.charge))
      refuse("charge", "an integer up to 1e6, the total charge in e", word);
  }

  void set_spin(const std::string& word) {
    const double spin = number(word);
    if (!(spin >= 0.0 && spin <= kLargestTotal) || 2.0 * spin != std::round(2.0 * spin))
      refuse("spin", "0, 0.5, 1, 1.5, ..., the total spin S, half the number of unpaired electrons", word);
    settings_.totals.spin = spin;
  }

  void set_cutoff(const std::string& word) {
    double cutoff = std::numeric_limits<double>::infinity();
    if (word != "none") cutoff = number(word);
    if (word != "none" && !is_length(cutoff)) refuse("lr_cutoff", "a positive length from 0.001 to 1e6 Angstrom, or none", word);
    settings_.lr_cutoff = cutoff;
  }

  void set_damping(const std::string& word) {
    settings_.lr_damping = number(word);
    if (!is_length(*settings_.lr_damping)) refuse("lr_damping", "a positive length from 0.001 to 1e6 Angstrom", word);
  }

  void set_coulomb(const std::string& word) {
    if (word != "cut" && word != "cutoff" && word != "ewald" && word != "kspace") refuse("coulomb", "cut, ewald or kspace", word);
    settings_.kspace = word == "kspace";
    settings_.engine.coulomb = word == "ewald" ? Coulomb::ewald : Coulomb::cutoff;
  }

  void set_accuracy(const std::string& word) {
    settings_.engine.ewald_accuracy = number(word);
    if (!(*settings_.engine.ewald_accuracy >= 1e-12 && *settings_.engine.ewald_accuracy <= 1.0))
      refuse("ewald_accuracy", "an error of forces from 1e-12 to 1 eV/A, whatever the units", word);
  }

  void set_method(const std::string& word) {
    try {
      settings_.engine.ewald_method = parse_ewald_method(word);
      return;
    } catch (const std::invalid_argument&) {
    }
    refuse("ewald_method", "auto, sum or mesh", word);
  }

  void set_tail(const std::string& word) {
    if (word != "yes" && word != "no") refuse("dispersion_tail", "yes or no", word);
    settings_.engine.dispersion_tail = word == "yes";
  }

  void set_field(const std::vector<std::string>& words) {
    std::string found;
    std::vector<double> values;
    for (const std::string& word : words) {
      found += (found.empty() ? "" : " ") + word;
      values.push_back(number(word));
    }
    const auto fits = [](double value) { return std::abs(value) <= kLargestField; };
    if (values.size() != 3 || !std::all_of(values.begin(), values.end(), fits))
      refuse(kField, "three components from -100 to 100 V/Angstrom", found.empty() ? "nothing" : found);
    settings_.engine.electric_field = {values[0], values[1], values[2]};
  }

  void set_precision(const std::string& word) {
    if (word != "mixed" && word != "double") refuse("precision", "mixed or double", word);
    settings_.engine.precision = word == "double" ? Precision::double_ : Precision::mixed;
  }

  void set_device(const std::string& word) {
    try {
      settings_.engine.device = parse_device(word);
      settings_.device_by_number = word.find(':') != std::string::npos;
      return;
    } catch (const std::invalid_argument&) {
    }
    refuse("device", "cpu, cuda, or cuda:N for GPU number N of each machine, counted from 0", word);
  }

  void set_threads(const std::string& word) {
    settings_.threads = LAMMPS_NS::utils::inumeric(FLERR, word, false, lammps_);
    if (settings_.threads < 1 || settings_.threads > kMostThreads) refuse("threads", "1 to 1024 threads of each MPI process", word);
  }

  LAMMPS_NS::LAMMPS* lammps_;
  PairSettings settings_;
};

}  // namespace

PairSettings parse_settings(int count, char** words, LAMMPS_NS::LAMMPS* lammps) { return Parser(lammps).parse(count, words); }

}  // namespace so3md
