#include "pair_settings.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <utility>
#include <vector>

#include "error.h"
#include "lammps.h"
#include "utils.h"

namespace so3md {

namespace {

constexpr const char* kSyntax =
    "pair_style so3krates MODEL [MODEL ...] [charge Q] [spin S] [lr_cutoff R] [lr_damping D] [coulomb cut|ewald|kspace] [ewald_accuracy A] "
    "[ewald_method auto|sum|mesh] [dispersion_tail yes|no] [electric_field X Y Z] [precision mixed|double] "
    "[device cpu|cuda|cuda:N] [threads N] [out_file FILE] [out_freq N] [threshold X]";

constexpr double kShortestLength = 1e-3, kLongestLength = 1e6;  // A, the bounds of the engine
constexpr double kLargestTotal = 1e6;                           // charge, e, and spin
constexpr double kLargestField = 100.0;                         // V/A, the bound of the engine
constexpr int kMostThreads = 1024;
constexpr const char* kDefaultFile = "model_devi.out";

// The only keyword with more than one value.
constexpr const char* kField = "electric_field";

class Parser {
 public:
  static std::string known_keywords() {
    std::string text;
    for (const auto& keyword : kKeywords) text += std::string(keyword.first) + ", ";
    return text + kField;
  }

  explicit Parser(LAMMPS_NS::LAMMPS* lammps) : lammps_(lammps) {}

  PairSettings parse(int count, char** words) {
    if (count < 1) stop(std::string("pair_style so3krates needs a model: ") + kSyntax);
    settings_.models.emplace_back(words[0]);
    int at = 1;
    for (; at < count && !is_keyword(words[at]); ++at) settings_.models.emplace_back(words[at]);
    for (; at < count; at += 2) {
      const std::string keyword = words[at];
      if (keyword == kField) {
        set_field({words + at + 1, words + std::min(count, at + 4)});
        at += 2;
        continue;
      }
      if (!is_keyword(keyword)) stop("pair_style so3krates: unknown keyword '" + keyword + "'; the keywords are " + known_keywords());
      if (at + 1 >= count) stop("pair_style so3krates: the keyword " + keyword + " needs a value: " + kSyntax);
      set(keyword, words[at + 1]);
    }
    if (settings_.kspace && settings_.lr_cutoff && std::isinf(*settings_.lr_cutoff))
      stop("pair_style so3krates: lr_cutoff none is for systems without periodic directions, and coulomb kspace for periodic ones");
    if (settings_.models.size() > 1 && settings_.engine.device.kind != DeviceKind::cpu)
      stop("pair_style so3krates: several models are evaluated on processors only: use device cpu, or a single model");
    if (settings_.kspace && settings_.models.size() > 1)
      stop("pair_style so3krates: coulomb kspace is for a single model, and these are " + settings_.models_text() + ": use coulomb ewald");
    return settings_;
  }

 private:
  [[noreturn]] void stop(const std::string& message) { lammps_->error->all(FLERR, message); }

  [[noreturn]] void refuse(const std::string& keyword, const std::string& expected, const std::string& found) {
    stop("pair_style so3krates: " + keyword + ": expected " + expected + ", found " + found);
  }

  static bool is_keyword(const std::string& word) {
    return word == kField || std::any_of(kKeywords.begin(), kKeywords.end(), [&](const Keyword& keyword) { return word == keyword.first; });
  }

  void set(const std::string& keyword, const std::string& value) {
    for (const auto& [name, setter] : kKeywords)
      if (keyword == name) return (this->*setter)(value);
    throw std::logic_error("a keyword without a setter");
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

  void set_file(const std::string& word) { settings_.uncertainty.file = word; }

  // As with DeePMD's pair style, either of the two keywords makes the file.
  void set_interval(const std::string& word) {
    settings_.uncertainty.interval = LAMMPS_NS::utils::inumeric(FLERR, word, false, lammps_);
    if (settings_.uncertainty.interval < 1) refuse("out_freq", "a number of steps, at least 1", word);
    if (settings_.uncertainty.file.empty()) settings_.uncertainty.file = kDefaultFile;
  }

  void set_threshold(const std::string& word) {
    settings_.uncertainty.threshold = number(word);
    if (!(*settings_.uncertainty.threshold > 0.0)) refuse("threshold", "a positive uncertainty in units of force", word);
  }

  // All with one value.
  using Keyword = std::pair<const char*, void (Parser::*)(const std::string&)>;
  static const std::array<Keyword, 14> kKeywords;

  LAMMPS_NS::LAMMPS* lammps_;
  PairSettings settings_;
};

const std::array<Parser::Keyword, 14> Parser::kKeywords{{{"charge", &Parser::set_charge},
                                                         {"spin", &Parser::set_spin},
                                                         {"lr_cutoff", &Parser::set_cutoff},
                                                         {"lr_damping", &Parser::set_damping},
                                                         {"coulomb", &Parser::set_coulomb},
                                                         {"ewald_accuracy", &Parser::set_accuracy},
                                                         {"ewald_method", &Parser::set_method},
                                                         {"dispersion_tail", &Parser::set_tail},
                                                         {"precision", &Parser::set_precision},
                                                         {"device", &Parser::set_device},
                                                         {"threads", &Parser::set_threads},
                                                         {"out_file", &Parser::set_file},
                                                         {"out_freq", &Parser::set_interval},
                                                         {"threshold", &Parser::set_threshold}}};

}  // namespace

std::string PairSettings::models_text() const {
  std::string text;
  for (const std::string& model : models) text += (text.empty() ? "" : ", ") + model;
  return text;
}

std::string known_keywords() { return Parser::known_keywords(); }

PairSettings parse_settings(int count, char** words, LAMMPS_NS::LAMMPS* lammps) { return Parser(lammps).parse(count, words); }

}  // namespace so3md
