// Python binding of the potential of point charges.
#include "physics/point_charges.h"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <limits>
#include <optional>

#include "bindings/bindings.h"
#include "common/resources.h"

namespace so3md {

namespace {

bool are_vectors(const DoubleArray& array) { return array.ndim() == 2 && array.shape(1) == 3; }

py::tuple potentials_and_fields(const DoubleArray& positions, const DoubleArray& charges, const DoubleArray& points,
                                const DoubleArray& cell, const std::array<bool, 3>& pbc, double width, std::optional<double> cutoff,
                                std::int64_t threads) {
  check_threads(threads);
  if (!are_vectors(positions) || charges.ndim() != 1 || charges.shape(0) != positions.shape(0))
    throw py::value_error("expected a position (m, 3) and a charge (m,) of each point charge");
  if (!are_vectors(points)) throw py::value_error("expected points (n, 3)");
  if (cell.ndim() != 2 || cell.shape(0) != 3 || cell.shape(1) != 3) throw py::value_error("expected three cell vectors");
  constexpr auto kMost = std::numeric_limits<int>::max();
  if (points.shape(0) > kMost || charges.shape(0) > kMost) throw py::value_error("too many points: the engine counts to 2^31");
  PointCharges sources{static_cast<int>(charges.shape(0)), positions.data(), charges.data(), width,
                       cutoff.value_or(std::numeric_limits<double>::infinity())};
  DoubleArray potentials(points.shape(0)), fields({points.shape(0), py::ssize_t{3}});
  double* potential = potentials.mutable_data();
  double* field = fields.mutable_data();
  const Cell box(cell.data(), pbc);
  {
    py::gil_scoped_release release;
    ThreadPool pool(static_cast<int>(threads));
    point_charge_potentials(sources, static_cast<int>(points.shape(0)), points.data(), box, pool, potential, field);
  }
  return py::make_tuple(potentials, fields);
}

}  // namespace

void bind_point_charges(py::module_& module) {
  module.def("point_charge_potentials", &potentials_and_fields, py::arg("positions"), py::arg("charges"), py::arg("points"),
             py::arg("cell"), py::arg("pbc"), py::arg("width") = 0.0, py::arg("cutoff") = py::none(), py::arg("threads") = 1,
             "Potentials (n,) in V and fields (n, 3) in V/A of charges at points. Raises ValueError as csrc/physics/point_charges.h says.");
}

}  // namespace so3md
