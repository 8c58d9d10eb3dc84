// Python binding of the dispersion beyond its cutoff, for structures in whose energy it is not counted.
#include "physics/dispersion_tail.h"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <limits>
#include <memory>
#include <optional>
#include <vector>

#include "bindings/bindings.h"
#include "model/model.h"

namespace so3md {

namespace {

double tail_energy(const std::shared_ptr<const Model>& model, const Array<std::int64_t>& numbers, const Array<double>& ratios,
                   const Array<double>& cell, const std::array<bool, 3>& pbc, std::optional<double> lr_cutoff, double lr_damping,
                   const std::optional<Array<double>>& c6_ratios) {
  EngineOptions options;
  options.long_range_cutoff = lr_cutoff.value_or(std::numeric_limits<double>::infinity());
  options.dispersion_damping = lr_damping;
  options.dispersion_tail = true;
  check_options(options);
  if (!model->hyper.dispersion) throw py::value_error("dispersion_tail: this model has no dispersion");
  if (numbers.ndim() != 1 || ratios.ndim() != 1 || ratios.shape(0) != numbers.shape(0))
    throw py::value_error("expected a number and a ratio of each atom");
  if (model->hyper.c6_head != c6_ratios.has_value() || (c6_ratios && (c6_ratios->ndim() != 1 || c6_ratios->shape(0) != numbers.shape(0))))
    throw py::value_error("expected a ratio of C6 of each atom for models with a C6 head, and none for others");
  if (cell.ndim() != 2 || cell.shape(0) != 3 || cell.shape(1) != 3) throw py::value_error("expected three cell vectors");
  const Cell box(cell.data(), pbc);
  check_dispersion_tail(options, box);
  const std::vector<int> elements = atomic_numbers(numbers);
  std::vector<int> species;
  for (std::size_t i = 0; i < elements.size(); ++i) {
    species.push_back(model->species_of(elements[i]));
    if (species.back() < 0) throw py::value_error("atom " + std::to_string(i) + " is of an element for which this model was not trained");
  }
  TailAtoms atoms;
  atoms.n = static_cast<int>(species.size());
  atoms.species = species.data();
  atoms.ratios = ratios.data();
  if (c6_ratios) atoms.c6_ratios = c6_ratios->data();
  return DispersionTail(*model, options.long_range_cutoff, lr_damping).energy(atoms, box.volume());
}

}  // namespace

void bind_dispersion_tail(py::module_& module) {
  module.def("dispersion_tail", &tail_energy, py::arg("model"), py::arg("numbers"), py::arg("ratios"), py::arg("cell"), py::arg("pbc"),
             py::arg("lr_cutoff"), py::arg("lr_damping"), py::arg("c6_ratios") = py::none(),
             "Energy (eV) of the dispersion beyond lr_cutoff in a structure with these Hirshfeld ratios, and ratios of C6 where the model\n"
             "has them, as if atoms were spread evenly there. Raises ValueError for one that is not periodic along all three directions.");
}

}  // namespace so3md
