// Python binding of a step of the heat flux, for tests.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <vector>

#include "bindings/bindings.h"
#include "heat_flux/charge_shares.h"
#include "heat_flux/kernels.h"

namespace so3md {

namespace {

py::array_t<double> moved_charge(const DoubleArray& positions, const DoubleArray& rates, const DoubleArray& moments,
                                 const DoubleArray& cell, const std::array<bool, 3>& pbc) {
  const py::ssize_t atoms = rates.size();
  if (positions.size() != 3 * atoms || moments.size() != 3 * atoms || cell.size() != 9)
    throw py::value_error("expected positions (n, 3), rates (n), moments (n, 3) and a cell (3, 3)");
  std::vector<double> raw(static_cast<std::size_t>(heat_flux::kParts * atoms));
  for (py::ssize_t i = 0; i < atoms; ++i) {
    double* parts = raw.data() + heat_flux::kParts * i;
    parts[heat_flux::kRate] = rates.data()[i];
    for (int a = 0; a < 3; ++a) parts[heat_flux::kMoment + a] = moments.data()[3 * i + a];
  }
  const Cell box(cell.data(), pbc);
  SerialHalo alone;
  const heat_flux::ChargeShares shares(static_cast<int>(atoms), positions.data(), raw.data(), &box, alone);
  py::array_t<double> out({atoms, py::ssize_t{3}});
  for (py::ssize_t i = 0; i < atoms; ++i) {
    const Vec3 at = shares.at(positions.data() + 3 * i);
    std::copy(at.begin(), at.end(), out.mutable_data() + 3 * i);
  }
  return out;
}

}  // namespace

void bind_heat_flux(py::module_& module) {
  module.def("moved_charge", &moved_charge, py::arg("positions"), py::arg("rates"), py::arg("moments"), py::arg("cell"), py::arg("pbc"),
             "sum_j m_j + (r_i - r_j) c_j for every atom i, (n, 3), of rates c and moments m of raw charges (eq. 77 of docs/theory.md).");
}

}  // namespace so3md
