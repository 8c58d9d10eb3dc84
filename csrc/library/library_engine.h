// What is behind so3md_engine: evaluations with the lengths that fit the structure, and the rules that hosts check.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/evaluator.h"
#include "so3md/so3md.h"

namespace so3md {

class LibraryEngine {
 public:
  /// Throws std::invalid_argument for options that make no sense, and std::runtime_error for what this machine cannot do.
  LibraryEngine(std::shared_ptr<const Model> model, const so3md_options& options);

  /// Throws std::invalid_argument for a structure that cannot be evaluated. What the results point to is valid until the next call.
  so3md_results evaluate(const so3md_system& system, int what);

  const std::string& warnings() const { return warnings_; }

 private:
  /// Cutoff and damping of the long-range terms, A: those given, else those that the model was made for.
  struct Lengths {
    double cutoff, damping;
    auto operator<=>(const Lengths&) const = default;
  };
  struct Entry {
    std::unique_ptr<Evaluator> evaluator;
    bool used = false;
  };

  Lengths lengths(bool periodic) const;
  Entry& entry(bool periodic);
  System checked_system(const so3md_system& system);
  void check_electrons(const System& system);
  void fill_totals(const DomainResults& from, so3md_results& results) const;

  std::shared_ptr<const Model> model_;
  EngineOptions options_;
  Lengths given_;
  double skin_;
  int threads_;
  std::map<Lengths, Entry> entries_;  // structures with and without a periodic direction may have lengths of their own
  std::string warnings_;
};

}  // namespace so3md
