// Python bindings of the sweeps of training. Arrays are those of PyTorch, which come as addresses: what lies there is checked by
// python/so3md/training/native_steps.py.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bindings/bindings.h"
#include "bindings/named.h"
#include "model/names.h"
#include "training/geometry.h"
#include "training/sweeps.h"

namespace so3md {

namespace {

using training::BatchAddresses;
using training::Geometry;
using training::GeometryArrays;
using training::Network;
using training::Shape;
using training::Sweeps;
using training::TensorAddress;
using Address = std::uintptr_t;

void* pointer(Address address) { return reinterpret_cast<void*>(address); }

/// Throws ValueError unless the kernels have room for the degrees.
void check_degrees(const std::vector<int>& degrees) {
  const bool fits = std::all_of(degrees.begin(), degrees.end(), [](int degree) { return degree >= 0 && degree <= kMaxDegree; });
  const bool ordered = std::is_sorted(degrees.begin(), degrees.end());
  if (!fits || !ordered || degrees.empty() || degrees.size() > static_cast<std::size_t>(kMaxDegrees))
    throw py::value_error("degrees: expected up to " + std::to_string(kMaxDegrees) + " numbers from 0 to " + std::to_string(kMaxDegree) +
                          ", in increasing order");
}

/// Of degrees in the order of the coordinates.
void set_degrees(Shape& shape, const std::vector<int>& degrees) {
  check_degrees(degrees);
  for (const int degree : degrees) {
    for (int m = 0; m < 2 * degree + 1; ++m) {
      shape.degree_of[shape.coordinates] = shape.degrees;
      shape.invariant_norm[shape.coordinates] = 1 / std::sqrt(2.0 * degree + 1);
      shape.sign[shape.coordinates] = degree % 2 == 0 ? 1 : -1;
      ++shape.coordinates;
    }
    ++shape.degrees;
  }
}

std::vector<std::string> tensor_names() { return {std::begin(training::kTensorNames), std::end(training::kTensorNames)}; }

std::unique_ptr<Network> make_network(const py::dict& options) {
  const auto number = [&](const char* name) { return options[name].cast<std::int64_t>(); };
  const auto flag = [&](const char* name) { return options[name].cast<bool>(); };
  const auto real = [&](const char* name) { return options[name].cast<double>(); };
  Shape shape;
  shape.features = number("features");
  shape.heads = number("heads");
  set_degrees(shape, options["degrees"].cast<std::vector<int>>());
  shape.basis = number("basis");
  shape.radial_hidden = number("radial_hidden");
  shape.spherical_hidden = number("spherical_hidden");
  shape.layers = number("layers");
  shape.activation = value_named("activation", options["activation"].cast<std::string>(), kActivations);
  shape.query_key_activation = value_named("activation", options["query_key_activation"].cast<std::string>(), kActivations);
  shape.norm[0] = flag("norm_1");
  shape.norm[1] = flag("norm_2");
  shape.residual[0] = flag("residual_1");
  shape.residual[1] = flag("residual_2");
  shape.three_layers = flag("three_layers");
  shape.pre_norm = flag("pre_norm");
  shape.final_norm = flag("final_norm");
  shape.neighbour_sum = flag("neighbour_sum");
  shape.norm_epsilon = real("norm_epsilon");
  shape.score_factor = real("score_factor");
  shape.coordinate_score_factor = real("coordinate_score_factor");
  shape.start_factor = real("start_factor");
  shape.energy_hidden = number("energy_hidden");
  shape.energy_activation = value_named("activation", options["energy_activation"].cast<std::string>(), kActivations);
  return std::make_unique<Network>(shape, flag("double_precision"));
}

std::unique_ptr<Geometry> make_geometry(const py::dict& options) {
  Hyperparameters hyper;
  hyper.cutoff = options["cutoff"].cast<double>();
  hyper.cutoff_function = value_named("cutoff function", options["cutoff_function"].cast<std::string>(), kCutoffFunctions);
  hyper.cutoff_exponent = options["cutoff_exponent"].cast<double>();
  hyper.radial_basis = value_named("radial basis", options["radial_basis"].cast<std::string>(), kRadialBases);
  hyper.num_radial = options["num_radial"].cast<int>();
  hyper.bernstein_gamma = options["gamma"].cast<double>();
  hyper.degrees = options["degrees"].cast<std::vector<int>>();
  check_degrees(hyper.degrees);
  return std::make_unique<Geometry>(hyper);
}

template <class Real>
void compute_geometry(const Geometry& geometry, std::int64_t pairs, Address displacement, const std::vector<Address>& arrays) {
  const auto array = [&](std::size_t k) { return static_cast<Real*>(pointer(arrays.at(k))); };
  const GeometryArrays<Real> to{array(0), array(1), array(2), array(3), array(4), array(5), array(6), array(7)};
  geometry.compute(pairs, static_cast<const double*>(pointer(displacement)), to);
}

std::unique_ptr<Sweeps> begin(Network& network, const py::dict& batch, const std::vector<std::pair<Address, std::int64_t>>& tensors,
                              std::int64_t gradient_size, int threads) {
  const auto number = [&](const char* name) { return batch[name].cast<std::int64_t>(); };
  const auto address = [&](const char* name) { return pointer(batch[name].cast<Address>()); };
  BatchAddresses addresses;
  addresses.structures = number("structures");
  addresses.atoms = number("atoms");
  addresses.pairs = number("pairs");
  addresses.counts = static_cast<const std::int64_t*>(address("counts"));
  addresses.first = static_cast<const std::int64_t*>(address("first"));
  addresses.second = static_cast<const std::int64_t*>(address("second"));
  addresses.basis = address("basis");
  addresses.phi = address("phi");
  addresses.harmonics = address("harmonics");
  if (batch.contains("species")) {
    addresses.species = static_cast<const std::int64_t*>(address("species"));
    addresses.unit = address("unit");
    addresses.phi_slope = address("phi_slope");
    addresses.harmonics_by = address("harmonics_by");
  }
  const int of_energies = addresses.species == nullptr ? 0 : training::kEnergyTensors;
  const auto expected = static_cast<std::size_t>(network.shape().layers * training::kTensors + 2 + of_energies);
  if (tensors.size() != expected)
    throw py::value_error("expected " + std::to_string(expected) + " tensors, found " + std::to_string(tensors.size()));
  std::vector<TensorAddress> list;
  for (const auto& [value, gradient] : tensors) list.push_back({pointer(value), gradient});
  const py::gil_scoped_release release;
  return network.begin(addresses, list, gradient_size, threads);
}

}  // namespace

void bind_training(py::module_& module) {
  module.def("training_tensor_names", &tensor_names, "Names of the tensors of a layer, in the order in which a network is given them.");
  module.def("training_groups", &training::divide_structures, py::arg("atoms"), py::arg("pairs"),
             "First structures of the groups of a batch, and their number; atoms, pairs: of each structure.");
  using NoGil = py::call_guard<py::gil_scoped_release>;
  py::class_<Sweeps>(module, "TrainingSweeps", "A batch in the four sweeps of a training step; arguments are addresses of arrays.")
      .def(
          "forward", [](Sweeps& s, Address x, Address out) { s.forward(pointer(x), pointer(out)); }, py::arg("x"), py::arg("out"), NoGil())
      .def(
          "adjoint",
          [](Sweeps& s, Address by_out, Address distance, Address phi, Address harmonics) {
            s.adjoint(pointer(by_out), pointer(distance), pointer(phi), pointer(harmonics));
          },
          py::arg("by_out"), py::arg("distance"), py::arg("phi"), py::arg("harmonics"), NoGil())
      .def(
          "tangent",
          [](Sweeps& s, Address distance, Address phi, Address harmonics, Address out) {
            s.tangent(pointer(distance), pointer(phi), pointer(harmonics), pointer(out));
          },
          py::arg("distance"), py::arg("phi"), py::arg("harmonics"), py::arg("out"), NoGil())
      .def(
          "gradient",
          [](Sweeps& s, Address by_out, Address by_x, Address by_basis, Address gradients) {
            s.gradient(pointer(by_out), pointer(by_x), pointer(by_basis), pointer(gradients));
          },
          py::arg("by_out"), py::arg("by_x"), py::arg("by_basis"), py::arg("gradients"), NoGil())
      .def(
          "evaluate", [](Sweeps& s, Address energies, Address forces) { s.evaluate(pointer(energies), pointer(forces)); },
          py::arg("energies"), py::arg("forces"), NoGil())
      .def(
          "differentiate",
          [](Sweeps& s, Address by_energies, Address by_forces, Address gradients) {
            s.differentiate(pointer(by_energies), pointer(by_forces), pointer(gradients));
          },
          py::arg("by_energies"), py::arg("by_forces"), py::arg("gradients"), NoGil());
  py::class_<Geometry>(module, "TrainingGeometry", "Functions of pairs with their slopes, see csrc/training/geometry.h.")
      .def(py::init(&make_geometry), py::arg("options"))
      .def(
          "compute",
          [](const Geometry& geometry, std::int64_t pairs, Address displacement, const std::vector<Address>& arrays,
             bool double_precision) {
            (double_precision ? compute_geometry<double> : compute_geometry<float>)(geometry, pairs, displacement, arrays);
          },
          py::arg("pairs"), py::arg("displacement"), py::arg("arrays"), py::arg("double_precision"), NoGil());
  py::class_<Network>(module, "TrainingNetwork", "A network of architecture so3krates in training, see csrc/training/sweeps.h.")
      .def(py::init(&make_network), py::arg("options"))
      .def("begin", &begin, py::arg("batch"), py::arg("tensors"), py::arg("gradient_size"), py::arg("threads"), py::keep_alive<0, 1>());
}

}  // namespace so3md
