// Python binding of the evaluation of many structures at once.

#include "engine/batch.h"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "bindings/bindings.h"
#include "common/resources.h"

namespace so3md {

namespace {

void require_shape(const py::array& array, const char* name, const std::vector<py::ssize_t>& expected) {
  if (std::vector<py::ssize_t>(array.shape(), array.shape() + array.ndim()) == expected) return;
  throw py::value_error(std::string(name) + " has the shape " + shape_text(array) + ": expected " +
                        py::str(py::tuple(py::cast(expected))).cast<std::string>());
}

py::array_t<double> copy(const std::vector<double>& values, std::vector<py::ssize_t> shape) {
  return py::array_t<double>(std::move(shape), values.data());
}

py::array_t<double> energy_columns(const std::vector<EnergyComponents>& energies) {
  std::vector<double> values;
  for (const EnergyComponents& e : energies)
    values.insert(values.end(), {e.total(), e.network + e.shifts, e.network, e.zbl, e.electrostatics, e.dispersion});
  return copy(values, {static_cast<py::ssize_t>(energies.size()), 6});
}

std::unique_ptr<BatchEvaluator> make_batch_engine(std::shared_ptr<const Model> model, const std::string& precision, std::int64_t threads,
                                                  std::optional<double> lr_cutoff, double lr_damping, const std::string& device,
                                                  const std::string& coulomb, std::optional<double> ewald_accuracy, bool dispersion_tail,
                                                  const Vec3& electric_field, const std::string& ewald_method) {
  EngineOptions options;
  options.device = parse_device(device);
  options.precision = parse_precision(precision);
  options.long_range_cutoff = lr_cutoff.value_or(std::numeric_limits<double>::infinity());
  options.dispersion_damping = lr_damping;
  options.coulomb = parse_coulomb(coulomb);
  options.ewald_accuracy = ewald_accuracy;
  options.ewald_method = parse_ewald_method(ewald_method);
  options.dispersion_tail = dispersion_tail;
  options.electric_field = {electric_field[0], electric_field[1], electric_field[2]};
  check_threads(threads);
  auto evaluator = std::make_unique<BatchEvaluator>(std::move(model), options, static_cast<int>(threads));
  warn(evaluator->table_warning());
  return evaluator;
}

py::dict evaluate_batch(BatchEvaluator& evaluator, const Array<int>& sizes, const Array<std::int64_t>& numbers,
                        const Array<double>& positions, const Array<double>& cells, const Array<bool>& pbc, const Array<double>& charges,
                        const Array<double>& spins, bool forces, bool virials) {
  const py::ssize_t count = sizes.size();
  require_shape(sizes, "sizes", {count});
  py::ssize_t atoms = 0;
  for (py::ssize_t s = 0; s < count; ++s) {
    if (sizes.at(s) < 0) throw py::value_error("sizes holds " + std::to_string(sizes.at(s)) + ": expected numbers of atoms");
    atoms += sizes.at(s);
  }
  require_shape(numbers, "numbers", {atoms});
  require_shape(positions, "positions", {atoms, 3});
  require_shape(cells, "cells", {count, 3, 3});
  require_shape(pbc, "pbc", {count, 3});
  require_shape(charges, "charges", {count});
  require_shape(spins, "spins", {count});

  const std::vector<int> elements = atomic_numbers(numbers);
  std::vector<System> systems(static_cast<std::size_t>(count));
  py::ssize_t atom = 0;
  for (py::ssize_t s = 0; s < count; ++s) {
    System& system = systems[static_cast<std::size_t>(s)];
    system.n = sizes.at(s);
    system.numbers = elements.data() + atom;
    system.positions = positions.data() + 3 * atom;
    system.cell = cells.data() + 9 * s;
    system.periodic = {pbc.at(s, 0), pbc.at(s, 1), pbc.at(s, 2)};
    system.totals = {charges.at(s), spins.at(s)};
    atom += system.n;
  }
  BatchResults results;
  {
    py::gil_scoped_release release;
    results = evaluator.evaluate(systems, forces, forces && virials);
  }
  py::dict out;
  out["errors"] = results.errors;
  out["energy"] = energy_columns(results.energy);
  out["energies"] = copy(results.energies, {atoms});
  if (forces) {
    out["forces"] = copy(results.forces, {atoms, 3});
    out["virial"] = copy(results.virials, {count, 3, 3});
    if (virials) out["virials"] = copy(results.atom_virials, {atoms, 3, 3});
  }
  if (evaluator.model().hyper.charge_head) out["charges"] = copy(results.charges, {atoms});
  if (evaluator.model().hyper.hirshfeld_head) out["hirshfeld_ratios"] = copy(results.hirshfeld_ratios, {atoms});
  if (evaluator.model().hyper.c6_head) out["c6_ratios"] = copy(results.c6_ratios, {atoms});
  if (!results.force_uncertainties.empty()) out["forces_uncertainty"] = copy(results.force_uncertainties, {atoms});
  return out;
}

}  // namespace

void bind_batch(py::module_& module) {
  py::class_<BatchEvaluator>(module, "BatchEngine",
                             "Evaluates many structures at once. One call at a time. Structures come joined: their sizes (n), and the "
                             "rows of their atoms one after another. In the results likewise; errors (n) says why a structure could "
                             "not be evaluated, or is empty; energy (n, 6) has the total, nn, nn_noshift, zbl, electrostatics and "
                             "dispersion.")
      .def(py::init(&make_batch_engine), py::arg("model"), py::arg("precision") = "mixed", py::arg("threads") = 0,
           py::arg("lr_cutoff") = 12.0, py::arg("lr_damping") = 2.0, py::arg("device") = "cpu", py::arg("coulomb") = "cutoff",
           py::arg("ewald_accuracy") = py::none(), py::arg("dispersion_tail") = false,
           py::arg_v("electric_field", Vec3{}, "(0.0, 0.0, 0.0)"), py::arg("ewald_method") = "auto")
      .def("evaluate", &evaluate_batch, py::arg("sizes"), py::arg("numbers"), py::arg("positions"), py::arg("cells"), py::arg("pbc"),
           py::arg("charges"), py::arg("spins"), py::arg("forces") = true, py::arg("virials") = false)
      .def_property_readonly("threads", &BatchEvaluator::threads);
}

}  // namespace so3md
