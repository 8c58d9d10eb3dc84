// so3md for C++20: the C interface (so3md.h, which describes fields, shapes and units) with errors as exceptions and owners that clean up.
#ifndef SO3MD_HPP
#define SO3MD_HPP

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <stdexcept>
#include <string>

#include "so3md.h"

namespace so3md {
inline namespace v1 {  // SO3MD_C_INTERFACE

/// What the library could not do, in words. SO3MD_ERROR_MEMORY is std::bad_alloc instead.
class Error : public std::runtime_error {
 public:
  Error(so3md_status status, const char* text) : std::runtime_error(text), status_(status) {}
  so3md_status status() const noexcept { return status_; }  ///< SO3MD_ERROR_INPUT, ...

 private:
  so3md_status status_;
};

/// Throws what a status says.
inline void check(so3md_status status) {
  if (status == SO3MD_ERROR_MEMORY) throw std::bad_alloc();
  if (status != SO3MD_OK) throw Error(status, so3md_last_error());
}

/// so3md_options, with their defaults.
struct Options : so3md_options {
  Options() : so3md_options{} { check(so3md_options_init(this, sizeof(so3md_options))); }
};

/// so3md_model_info of a model, which must live as long.
struct ModelInfo : so3md_model_info {
  explicit ModelInfo(const so3md_model* model) : so3md_model_info{} { check(so3md_model_get_info(model, this, sizeof(so3md_model_info))); }
};

/// A model from a file, or one that ships with so3md, by its name. Copies share it; any number of threads may use it.
class Model {
 public:
  explicit Model(const std::string& name_or_path) {
    so3md_model* model = nullptr;
    check(so3md_model_load(name_or_path.c_str(), &model));
    model_.reset(model, so3md_model_destroy);
  }
  ModelInfo info() const { return ModelInfo(model_.get()); }
  const so3md_model* get() const noexcept { return model_.get(); }

 private:
  std::shared_ptr<so3md_model> model_;
};

/// A structure. The arrays stay with the caller and must live until it is evaluated.
struct System {
  std::span<const std::int32_t> atomic_numbers;  ///< [n]
  std::span<const double> positions;             ///< [n][3], Angstrom
  std::array<double, 9> cell{};                  ///< [3][3], Angstrom, one lattice vector after the other
  std::array<bool, 3> pbc{};                     ///< whether the structure repeats along each of them
  double charge = 0.0;                           ///< total charge, elementary charges
  double spin = 0.0;                             ///< total spin S, half the number of unpaired electrons
};

/// so3md_results, with spans in place of its pointers: empty for what there is none of, and valid until the engine's next call.
struct Results : so3md_results {
  using Array = std::span<const double>;
  Results() : so3md_results{} { check(so3md_results_init(this, sizeof(so3md_results))); }
  Array energies() const { return view(so3md_results::energies, 1); }                  ///< [n], eV
  Array forces() const { return view(so3md_results::forces, 3); }                      ///< [n][3], eV/Angstrom
  Array atomic_virials() const { return view(so3md_results::atomic_virials, 9); }      ///< [n][3][3], eV
  Array charges() const { return view(so3md_results::charges, 1); }                    ///< [n], elementary charges
  Array hirshfeld_ratios() const { return view(so3md_results::hirshfeld_ratios, 1); }  ///< [n]
  Array c6_ratios() const { return view(so3md_results::c6_ratios, 1); }                ///< [n]

 private:
  Array view(const double* data, std::size_t width) const {
    return data == nullptr ? Array() : Array(data, static_cast<std::size_t>(num_atoms) * width);
  }
};

/// Evaluates a model. One call at a time; several engines work independently. Moves, but has no copies.
class Engine {
 public:
  explicit Engine(const Model& model, const Options& options = Options()) {
    so3md_engine* engine = nullptr;
    check(so3md_engine_create(model.get(), &options, &engine));
    engine_.reset(engine);
  }

  /// `what`: SO3MD_ENERGY, SO3MD_FORCES, or SO3MD_FORCES + SO3MD_ATOMIC_VIRIALS.
  Results evaluate(const System& system, std::int32_t what = SO3MD_FORCES) {
    if (system.positions.size() != 3 * system.atomic_numbers.size())
      throw Error(SO3MD_ERROR_INPUT, "so3md: expected three coordinates for each atomic number");
    so3md_system given{};
    check(so3md_system_init(&given, sizeof(given)));
    given.num_atoms = static_cast<std::int64_t>(system.atomic_numbers.size());
    given.atomic_numbers = system.atomic_numbers.data();
    given.positions = system.positions.data();
    given.cell = system.cell.data();
    for (std::size_t k = 0; k < 3; ++k) given.pbc[k] = system.pbc[k] ? 1 : 0;
    given.charge = system.charge;
    given.spin = system.spin;
    Results results;
    check(so3md_evaluate(engine_.get(), &given, what, &results));
    return results;
  }

  /// A line each of what should be known and is no error.
  std::string warnings() const { return so3md_engine_warnings(engine_.get()); }

 private:
  struct Destroy {
    void operator()(so3md_engine* engine) const noexcept { so3md_engine_destroy(engine); }
  };
  std::unique_ptr<so3md_engine, Destroy> engine_;
};

}  // namespace v1
}  // namespace so3md

#endif
