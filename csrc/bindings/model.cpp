// Python binding of model files.
#include "model/model.h"

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include <cmath>
#include <exception>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

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
      .def_readonly("num_parameters", &Model::num_parameters, "Number of trained numbers.")
      .def("__repr__", [](const Model& self) {
        return py::str("<so3md Model {!r}: {} elements, {} parameters>")
            .format(decode(self.path), self.elements.size(), self.num_parameters);
      });
}

}  // namespace so3md
