// Python binding of the pair physics by itself, for tests and timings. The engine calls the same kernels without Python.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bindings/bindings.h"
#include "model/model.h"
#include "network/kernels.h"
#include "physics/zbl.h"

namespace so3md {

namespace py = pybind11;

namespace {

template <class T>
void expect_size(const char* name, const Array<T>& array, py::ssize_t size) {
  if (array.ndim() != 1 || array.shape(0) != size)
    throw py::value_error(std::string(name) + " has the shape " + shape_text(array) + ": expected (" + std::to_string(size) + ",)");
}

// Every number of `array` must be an index below `limit`.
void expect_indices(const char* name, const Array<int>& array, py::ssize_t limit) {
  for (py::ssize_t k = 0; k < array.size(); ++k)
    if (array.data()[k] < 0 || array.data()[k] >= limit)
      throw py::value_error(std::string(name) + "[" + std::to_string(k) + "] is " + std::to_string(array.data()[k]) + ": expected 0 to " +
                            std::to_string(limit - 1));
}

/// The arrays behind a Domain, as Python hands them over.
struct PythonDomain {
  Array<double> positions;
  Array<int> slot;
  std::optional<Array<std::int64_t>> offsets;
  std::optional<Array<int>> sites;

  /// Throws ValueError for arrays that do not fit together.
  Domain view(int n_owned, int n_slots) const {
    if (positions.ndim() != 2 || positions.shape(1) != 3)
      throw py::value_error("positions has the shape " + shape_text(positions) + ": expected (number of sites, 3)");
    const py::ssize_t n_sites = positions.shape(0);
    if (n_owned < 0 || n_owned > n_sites || n_owned > n_slots)
      throw py::value_error("n_owned is " + std::to_string(n_owned) + ": expected at most the number of sites and of slots");
    expect_size("slot", slot, n_sites);
    expect_indices("slot", slot, n_slots);
    Domain domain;
    domain.n_owned = n_owned;
    domain.n_far = n_slots - n_owned;
    domain.n_sites = static_cast<int>(n_sites);
    domain.slot = slot.data();
    domain.positions = positions.data();
    if (offsets.has_value() != sites.has_value()) throw py::value_error("offsets and sites belong together: expected both or neither");
    if (!offsets) return domain;
    expect_size("offsets", *offsets, n_owned + py::ssize_t{1});
    expect_indices("sites", *sites, n_sites);
    for (py::ssize_t i = 0; i <= n_owned; ++i)
      if (offsets->data()[i] < (i == 0 ? 0 : offsets->data()[i - 1]) || offsets->data()[i] > sites->size())
        throw py::value_error("offsets: expected numbers that do not fall, from 0 to the number of sites in the list");
    domain.long_offsets = offsets->data();
    domain.long_sites = sites->data();
    return domain;
  }
};

template <class Real>
std::vector<Real> converted(const Array<double>& array) {
  std::vector<Real> values(static_cast<std::size_t>(array.size()));
  for (std::size_t k = 0; k < values.size(); ++k) values[k] = static_cast<Real>(array.data()[k]);
  return values;
}

py::array_t<double> zeros(std::vector<py::ssize_t> shape) {
  py::array_t<double> array(std::move(shape));
  std::fill(array.mutable_data(), array.mutable_data() + array.size(), 0.0);
  return array;
}

/// Terms and parameters of LongRange.
struct Settings {
  bool electrostatics, dispersion;
  double sigma, cutoff, damping, damping_scale;
  bool virial;
};

template <class Real>
py::dict run_pair_physics(const Domain& domain, const Array<double>& charge, const Array<double>& alpha, const Array<double>& c6_factor,
                          const Settings& settings) {
  const std::vector<Real> q = converted<Real>(charge), a = converted<Real>(alpha), c = converted<Real>(c6_factor);
  const py::ssize_t n = domain.n_owned;
  py::dict result;
  const auto output = [&result](const char* name, std::vector<py::ssize_t> shape) {
    py::array_t<double> array = zeros(std::move(shape));
    result[name] = array;
    return array.mutable_data();
  };
  LongRange<Real> task;
  task.domain = &domain;
  task.electrostatics = settings.electrostatics;
  task.dispersion = settings.dispersion;
  task.sigma = settings.sigma;
  task.cutoff = settings.cutoff;
  task.damping = settings.damping;
  task.damping_scale = settings.damping_scale;
  task.charge = q.data();
  task.alpha = a.data();
  task.c6_factor = c.data();
  task.electrostatics_energy = output("electrostatics_energy", {n});
  task.dispersion_energy = output("dispersion_energy", {n});
  task.charge_gradient = output("charge_gradient", {n});
  task.alpha_gradient = output("alpha_gradient", {n});
  task.forces = output("forces", {n, 3});
  if (settings.virial) task.virial = output("virial", {n, 3, 3});
  const auto& table = kernels<Real>();
  py::gil_scoped_release release;
  table.long_range(task, 0, domain.n_owned);
  return result;
}

py::dict pair_physics(const Array<double>& positions, const Array<int>& slot, int n_owned, std::optional<Array<std::int64_t>> offsets,
                      std::optional<Array<int>> sites, const Array<double>& charge, const Array<double>& alpha,
                      const Array<double>& c6_factor, const Settings& settings, const std::string& precision) {
  const py::ssize_t n_slots = charge.size();
  expect_size("charge", charge, n_slots);
  expect_size("alpha", alpha, n_slots);
  expect_size("c6_factor", c6_factor, n_slots);
  const PythonDomain arrays{positions, slot, std::move(offsets), std::move(sites)};
  const Domain domain = arrays.view(n_owned, static_cast<int>(n_slots));
  if (precision == "double") return run_pair_physics<double>(domain, charge, alpha, c6_factor, settings);
  if (precision == "mixed") return run_pair_physics<float>(domain, charge, alpha, c6_factor, settings);
  throw py::value_error("precision is '" + precision + "': expected 'double' or 'mixed'");
}

py::tuple zbl_edges(const std::vector<int>& elements, const ZblWeights& weights, double switch_on, double switch_off,
                    const Array<int>& species_i, const Array<int>& species_j, const Array<double>& r, const Array<double>& phi,
                    const Array<double>& dphi_dr) {
  const py::ssize_t n = r.size();
  expect_size("species_i", species_i, n);
  expect_size("species_j", species_j, n);
  expect_size("phi", phi, n);
  expect_size("dphi_dr", dphi_dr, n);
  expect_indices("species_i", species_i, static_cast<py::ssize_t>(elements.size()));
  expect_indices("species_j", species_j, static_cast<py::ssize_t>(elements.size()));
  Model model;
  model.elements = elements;
  model.zbl = weights;
  model.hyper.zbl = true;
  model.hyper.zbl_switch_on = switch_on;
  model.hyper.zbl_switch_off = switch_off;
  const Zbl zbl(model);
  py::array_t<double> energy(n), derivative(n);
  for (py::ssize_t k = 0; k < n; ++k)
    energy.mutable_at(k) = zbl.energy(species_i.at(k), species_j.at(k), r.at(k), phi.at(k), dphi_dr.at(k), derivative.mutable_data(k));
  return py::make_tuple(energy, derivative);
}

}  // namespace

void bind_physics(py::module_& module) {
  module.def(
      "pair_physics",
      [](const Array<double>& positions, const Array<int>& slot, int n_owned, std::optional<Array<std::int64_t>> offsets,
         std::optional<Array<int>> sites, const Array<double>& charge, const Array<double>& alpha, const Array<double>& c6_factor,
         bool electrostatics, bool dispersion, double sigma, double cutoff, double damping, double damping_scale, bool virial,
         const std::string& precision) {
        return pair_physics(positions, slot, n_owned, std::move(offsets), std::move(sites), charge, alpha, c6_factor,
                            {electrostatics, dispersion, sigma, cutoff, damping, damping_scale, virial}, precision);
      },
      py::kw_only(), py::arg("positions"), py::arg("slot"), py::arg("n_owned"), py::arg("offsets") = py::none(),
      py::arg("sites") = py::none(), py::arg("charge"), py::arg("alpha"), py::arg("c6_factor"), py::arg("electrostatics") = true,
      py::arg("dispersion") = true, py::arg("sigma") = 4.0, py::arg("cutoff") = 12.0, py::arg("damping") = 2.0,
      py::arg("damping_scale") = 1.2, py::arg("virial") = true, py::arg("precision") = "double",
      R"(Electrostatics and dispersion of the owned atoms of a domain, by the kernels of this machine's instruction set.

positions (sites, 3) in A, owned atoms first; slot (sites,): row of charge, alpha and c6_factor that a site uses;
offsets (n_owned + 1,) and sites: neighbour sites of each owned atom, in one list; None: every other site is a
neighbour. charge (slots,) in e, alpha (slots,) in Bohr^3, c6_factor (slots,): free-atom C6/alpha^2 in Hartree.
sigma, cutoff (infinity: none) and damping in A. precision: "double" or "mixed".

Returns per owned atom: electrostatics_energy, dispersion_energy (eV, half of each pair), charge_gradient (eV/e),
alpha_gradient (eV/Bohr^3), forces (n, 3) in eV/A, virial (n, 3, 3) in eV. Raises ValueError for arrays that do not fit
together.)");

  module.def(
      "zbl_edges",
      [](const std::vector<int>& elements, const std::vector<double>& a_raw, const std::vector<double>& c_raw, double p_raw, double d_raw,
         double switch_on, double switch_off, const Array<int>& species_i, const Array<int>& species_j, const Array<double>& r,
         const Array<double>& phi, const Array<double>& dphi_dr) {
        return zbl_edges(elements, {a_raw, c_raw, p_raw, d_raw}, switch_on, switch_off, species_i, species_j, r, phi, dphi_dr);
      },
      py::kw_only(), py::arg("elements"), py::arg("a_raw"), py::arg("c_raw"), py::arg("p_raw"), py::arg("d_raw"), py::arg("switch_on"),
      py::arg("switch_off"), py::arg("species_i"), py::arg("species_j"), py::arg("r"), py::arg("phi"), py::arg("dphi_dr"),
      R"(ZBL repulsion of directed edges: energy (n,) in eV, half of that of a pair, and its derivative by r (n,) in eV/A.

a_raw, c_raw (4 each), p_raw, d_raw: parameters before softplus, as in a model file; species_i, species_j (n,):
positions in elements; r (n,) in A; phi, dphi_dr (n,): short-range cutoff function and its derivative. Raises ValueError
for arrays that do not fit together.)");
}

}  // namespace so3md
