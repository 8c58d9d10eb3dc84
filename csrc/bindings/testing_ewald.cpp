// Python binding of the particle mesh by itself, and of the choice of one, for tests. The engine calls the same code.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <complex>
#include <string>
#include <vector>

#include "bindings/bindings.h"
#include "physics/ewald_mesh.h"
#include "physics/ewald_plan.h"

namespace so3md {

namespace {

using Numbers = py::array_t<double, py::array::c_style | py::array::forcecast>;
using Waves = py::array_t<std::complex<double>, py::array::c_style | py::array::forcecast>;

py::dict evaluate_mesh(const Numbers& positions, const Numbers& charges, const Numbers& vectors, const std::array<int, 3>& points,
                       int order, double sigma, int threads, bool forces, bool atomic_virials) {
  const auto n = charges.size();
  if (positions.ndim() != 2 || positions.shape(0) != n || positions.shape(1) != 3 || vectors.size() != 9)
    throw py::value_error("expected positions (n, 3), charges (n,) and a cell (3, 3)");
  for (const int along : points)
    if (along < order) throw py::value_error("expected at least as many points along each direction as the order of the splines");
  const Cell cell(vectors.data(), {true, true, true});
  Numbers potentials(n), energies(n), derivatives({n, py::ssize_t{3}}), virials({n, py::ssize_t{3}, py::ssize_t{3}});
  for (Numbers* array : {&energies, &derivatives, &virials}) std::fill_n(array->mutable_data(), array->size(), 0.0);
  EwaldAtoms atoms;
  atoms.n = static_cast<int>(n);
  atoms.positions = positions.data();
  atoms.charges = charges.data();
  atoms.potentials = potentials.mutable_data();
  atoms.energies = energies.mutable_data();
  if (forces) {
    atoms.forces = derivatives.mutable_data();
    atoms.virials = virials.mutable_data();
  }
  atoms.atomic_virials = atomic_virials;
  ThreadPool pool(threads);
  SerialHalo halo;
  EwaldMesh(sigma, pool).evaluate(atoms, cell, {points, order}, static_cast<double>(n), halo);
  py::dict out;
  out["potentials"] = potentials;
  out["energies"] = energies;
  out["forces"] = derivatives;
  out["virials"] = virials;
  return out;
}

py::tuple transform(const Numbers& mesh, int threads) {
  if (mesh.ndim() != 3) throw py::value_error("expected numbers on a mesh of three dimensions");
  ThreadPool pool(threads);
  FourierMesh fourier(pool);
  fourier.resize({static_cast<int>(mesh.shape(0)), static_cast<int>(mesh.shape(1)), static_cast<int>(mesh.shape(2))});
  Waves waves({mesh.shape(0), mesh.shape(1), py::ssize_t{fourier.half()}});
  Numbers back({mesh.shape(0), mesh.shape(1), mesh.shape(2)});
  fourier.forward(mesh.data(), waves.mutable_data());
  std::vector<std::complex<double>> copy(waves.data(), waves.data() + waves.size());
  fourier.backward(copy.data(), back.mutable_data());
  return py::make_tuple(waves, back);
}

py::dict plan(const Numbers& vectors, double num_atoms, double sigma, double accuracy, const std::string& method, bool single_precision,
              double processes) {
  if (vectors.size() != 9) throw py::value_error("expected a cell (3, 3)");
  const Cell cell(vectors.data(), {true, true, true});
  const EwaldPlan found = plan_ewald({sigma, accuracy, parse_ewald_method(method), single_precision}, cell, num_atoms, processes);
  py::dict out;
  out["on_mesh"] = found.on_mesh;
  out["points"] = found.mesh.points;
  out["order"] = found.mesh.order;
  out["microseconds"] = found.microseconds;
  return out;
}

}  // namespace

void bind_ewald(py::module_& module) {
  module.def("ewald_mesh", &evaluate_mesh, py::kw_only(), py::arg("positions"), py::arg("charges"), py::arg("cell"), py::arg("points"),
             py::arg("order"), py::arg("sigma") = 4.0, py::arg("threads") = 1, py::arg("forces") = true, py::arg("atomic_virials") = true,
             "Electrostatics of all periodic images on a mesh of (a, b, c) points: potentials (n,) in eV/e, energies (n,) in eV, forces\n"
             "(n, 3) in eV/A at fixed charges and virials (n, 3, 3) in eV, whose sum is the energy's derivative by a strain.");
  module.def("fourier_mesh", &transform, py::arg("mesh"), py::arg("threads") = 1,
             "The Fourier transform (a, b, c // 2 + 1) of real numbers on a mesh (a, b, c), and what comes back from it.");
  module.def("ewald_plan", &plan, py::kw_only(), py::arg("cell"), py::arg("num_atoms"), py::arg("sigma") = 4.0, py::arg("accuracy"),
             py::arg("method") = "auto", py::arg("single_precision") = false, py::arg("processes") = 1.0,
             "How a sum over all periodic images would be made: whether on a mesh, its points and the order of its splines, and about how\n"
             "long it would take.");
}

}  // namespace so3md
