// The Python module so3md._engine: its entry, and what several of its parts need.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>
#include <vector>

#include "bindings/bindings.h"

namespace so3md {

void warn(const std::string& text) {
  if (!text.empty() && PyErr_WarnEx(PyExc_UserWarning, text.c_str(), 1) != 0) throw py::error_already_set();
}

std::string shape_text(const py::array& array) { return py::str(array.attr("shape")).cast<std::string>(); }

Precision parse_precision(const std::string& name) {
  if (name == "mixed") return Precision::mixed;
  if (name == "double") return Precision::double_;
  throw py::value_error("unknown precision '" + name + "': expected 'mixed' or 'double'");
}

std::vector<int> atomic_numbers(const py::array_t<std::int64_t, py::array::c_style | py::array::forcecast>& numbers) {
  std::vector<int> out(static_cast<std::size_t>(numbers.size()));
  for (std::size_t k = 0; k < out.size(); ++k) {
    const std::int64_t number = numbers.data()[k];
    out[k] = static_cast<int>(number);
    if (out[k] == number) continue;
    throw py::value_error("atom " + std::to_string(k) + " has the number " + std::to_string(number) + ": expected an atomic number");
  }
  return out;
}

}  // namespace so3md

PYBIND11_MODULE(_engine, module) {
  module.doc() = "The so3md engine (C++).";
  so3md::bind_model(module);
  so3md::bind_engine(module);
  so3md::bind_batch(module);
  so3md::bind_neighbour_list(module);
  so3md::bind_dispersion_tail(module);
  so3md::bind_point_charges(module);
  so3md::bind_training(module);
  so3md::bind_domain(module);
  so3md::bind_physics(module);
  so3md::bind_ewald(module);
  so3md::bind_functions(module);
  so3md::bind_heat_flux(module);
}
