// Python binding of model files.
#include "model/model.h"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include <algorithm>
#include <cmath>
#include <exception>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bindings/bindings.h"

namespace so3md {

namespace {

std::shared_ptr<Model> load(const std::filesystem::path& path) {
  const py::gil_scoped_release release;
  return std::make_shared<Model>(read_model(path.string()));
}

// Paths are bytes: names that are not UTF-8 come back as os.fsdecode would give them.
py::str decode(const std::string& text) {
  return py::reinterpret_steal<py::str>(PyUnicode_DecodeFSDefaultAndSize(text.data(), static_cast<py::ssize_t>(text.size())));
}

std::shared_ptr<Model> with_uncertainty(const Model& model, const py::array_t<double, py::array::c_style | py::array::forcecast>& factor,
                                        double scale, double exponent) {
  const int hidden = model.hyper.architecture == Architecture::so3krates ? model.hyper.energy_hidden : 0;
  if (hidden == 0) throw ModelError("uncertainty: needs the architecture so3krates and an energy head with a hidden layer");
  if (factor.ndim() != 2 || factor.shape(0) != hidden || factor.shape(1) != hidden)
    throw ModelError("uncertainty: expected a factor of shape (" + std::to_string(hidden) + ", " + std::to_string(hidden) +
                     "), as the energy head has so many hidden values");
  const std::vector<double> values(factor.data(), factor.data() + factor.size());
  const bool finite = std::all_of(values.begin(), values.end(), [](double value) { return std::isfinite(value); });
  if (!finite || !(scale > 0.0) || !std::isfinite(scale) || !(exponent >= 0.0) || !std::isfinite(exponent))
    throw ModelError("uncertainty: expected finite numbers, a positive scale and an exponent that is not negative");
  auto out = std::make_shared<Model>(model);
  out->uncertainty = {{hidden, hidden, values}, scale, exponent};
  return out;
}

std::optional<double> finite(double length) { return std::isinf(length) ? std::nullopt : std::optional(length); }

void register_model_error(py::module_& module) {
  PYBIND11_CONSTINIT static py::gil_safe_call_once_and_store<py::object> storage;
  storage.call_once_and_store_result([&] { return py::exception<ModelError>(module, "ModelError", PyExc_ValueError); });
  py::register_exception_translator([](std::exception_ptr pointer) {
    try {
      if (pointer) std::rethrow_exception(pointer);
    } catch (const ModelError& error) {
      py::set_error(storage.get_stored(), decode(error.what()));
    }
  });
}

}  // namespace

void bind_model(py::module_& module) {
  register_model_error(module);
  py::class_<Model, std::shared_ptr<Model>>(module, "Model", R"(A So3krates model, read from a model file.

Raises ModelError (a ValueError) for a file that is missing, truncated, altered, of another version, or not a model.)")
      .def(py::init(&load), py::arg("path"))
      .def_property_readonly(
          "path", [](const Model& self) { return decode(self.path); }, "The path as it was given.")
      .def_readonly("metadata", &Model::metadata, "The JSON document of the file: hyperparameters, provenance, citation, licence.")
      .def_readonly("elements", &Model::elements, "Atomic numbers that the model was trained for, increasing.")
      .def_property_readonly(
          "cutoff", [](const Model& self) { return self.hyper.cutoff; }, "Short-range cutoff in A.")
      .def_property_readonly(
          "has_long_range", [](const Model& self) { return self.hyper.has_long_range(); }, "Whether it has terms beyond its cutoff.")
      .def_property_readonly(
          "long_range_cutoff", [](const Model& self) { return finite(self.long_range.periodic); },
          "The cutoff (A) of long-range terms that it was made for in periodic systems; None: it was not made for these.")
      .def_property_readonly(
          "long_range_cutoff_molecules", [](const Model& self) { return finite(self.long_range.molecules); },
          "The same in systems without a periodic direction; None: it has none there.")
      .def_property_readonly(
          "long_range_damping", [](const Model& self) { return self.long_range.damping; },
          "The width (A) over which dispersion is switched off before the cutoff.")
      .def_property_readonly(
          "has_uncertainty", [](const Model& self) { return self.uncertainty.given(); },
          "Whether it has what uncertainties of forces are made of (docs/uncertainty.md).")
      .def("with_uncertainty", &with_uncertainty, py::arg("factor"), py::arg("scale"), py::arg("exponent"),
           "The same model with this uncertainty (docs/model_file.md): factor (h, h) as tensor uncertainty.factor, scale in eV/A.")
      .def_readonly("num_parameters", &Model::num_parameters, "Number of trained numbers.")
      .def("__repr__", [](const Model& self) {
        return py::str("<so3md Model {!r}: {} elements, {} parameters>")
            .format(decode(self.path), self.elements.size(), self.num_parameters);
      });
}

}  // namespace so3md
