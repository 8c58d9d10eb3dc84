// Parts of the Python module so3md._engine.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>
#include <vector>

#include "evaluation/engine.h"

namespace so3md {

namespace py = pybind11;

/// Arrays of any kind become those that the engine reads.
template <class T>
using Array = py::array_t<T, py::array::c_style | py::array::forcecast>;
using DoubleArray = Array<double>;

void bind_model(py::module_& module);
void bind_engine(py::module_& module);
void bind_batch(py::module_& module);
void bind_neighbour_list(py::module_& module);
void bind_dispersion_tail(py::module_& module);
void bind_point_charges(py::module_& module);
void bind_training(py::module_& module);

// What only tests and timings use (testing_*.cpp).
void bind_domain(py::module_& module);
void bind_physics(py::module_& module);
void bind_ewald(py::module_& module);
void bind_functions(py::module_& module);
void bind_heat_flux(py::module_& module);

/// Atomic numbers as the engine takes them. Raises ValueError for what does not fit, which NumPy would silently cut to 32 bits.
std::vector<int> atomic_numbers(const py::array_t<std::int64_t, py::array::c_style | py::array::forcecast>& numbers);

/// A NumPy array with a copy of numbers.
template <class T>
py::array_t<T> array_of(const T* data, std::vector<py::ssize_t> shape) {
  return py::array_t<T>(std::move(shape), data);
}

/// The shape of an array as Python writes it.
std::string shape_text(const py::array& array);

/// A UserWarning of Python; nothing where the text is empty. It may be made an error, which is thrown.
void warn(const std::string& text);

/// Raises ValueError for a name that is none.
Precision parse_precision(const std::string& name);

}  // namespace so3md
