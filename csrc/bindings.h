// Parts of the Python module so3md._engine.
#pragma once

#include <pybind11/pybind11.h>

namespace so3md {

namespace py = pybind11;

void bind_model(py::module_& module);
void bind_geometry(py::module_& module);
void bind_domain(py::module_& module);
void bind_physics(py::module_& module);

}  // namespace so3md
