// Parts of the Python module so3md._engine.
#pragma once

#include <pybind11/pybind11.h>

#include <string>

#include "engine.h"

namespace so3md {

namespace py = pybind11;

void bind_model(py::module_& module);
void bind_geometry(py::module_& module);
void bind_domain(py::module_& module);
void bind_physics(py::module_& module);
void bind_functions(py::module_& module);
void bind_heat_flux(py::module_& module);
void bind_batch(py::module_& module);

/// Raises ValueError for a name that is none.
Precision parse_precision(const std::string& name);

}  // namespace so3md
