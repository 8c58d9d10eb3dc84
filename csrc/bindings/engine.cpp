// Python binding of the engine: one structure at a time, on one process or several.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>

#include "bindings/bindings.h"
#include "bindings/transport.h"
#include "common/cgroup.h"
#include "common/resources.h"
#include "cpu/instruction_sets.h"
#include "engine/device_library.h"
#include "engine/evaluator.h"
#include "evaluation/charge_and_spin.h"

namespace so3md {

namespace {

using NumberArray = Array<std::int64_t>;

#if defined(__clang__)
constexpr const char* kCompiler = "Clang " __clang_version__;
#else
constexpr const char* kCompiler = "GCC " __VERSION__;
#endif

void check_shape(const py::array& array, const char* name, std::initializer_list<py::ssize_t> expected) {
  bool same = array.ndim() == static_cast<py::ssize_t>(expected.size());
  py::ssize_t axis = 0;
  for (py::ssize_t size : expected) {
    same = same && array.shape(axis) == size;
    ++axis;
  }
  if (same) return;
  const auto shape = shape_text(array);
  throw py::value_error(std::string(name) + " has shape " + shape + ": expected " +
                        py::str(py::cast(std::vector<py::ssize_t>(expected))).cast<std::string>());
}

// Filling a new array takes numpy half as long as copying one that it is told of, which counts for small molecules.
py::array_t<double> to_array(const std::vector<double>& values, std::vector<py::ssize_t> shape) {
  py::array_t<double> out(std::move(shape));
  std::copy_n(values.begin(), out.size(), out.mutable_data());
  return out;
}

/// Owns everything that an evaluation from Python needs.
class PythonEngine {
 public:
  PythonEngine(std::shared_ptr<const Model> model, const std::string& precision, int threads, std::optional<double> lr_cutoff,
               double lr_damping, double skin, std::optional<bool> tabulate, std::optional<bool> keep_filters, bool skip_nonlocal,
               const std::string& device, const std::string& coulomb, std::optional<double> ewald_accuracy, bool dispersion_tail,
               const Vec3& electric_field, const std::string& ewald_method, std::unique_ptr<Transport> transport, bool device_messages)
      : precision_(precision),
        transport_(transport.get()),
        evaluator_(std::move(model),
                   options(precision, lr_cutoff, lr_damping, tabulate, keep_filters, skip_nonlocal, device, coulomb, ewald_accuracy,
                           dispersion_tail, electric_field, ewald_method, device_messages),
                   threads, skin, std::move(transport)) {
    if (leads()) warn(evaluator_.engine().table_warning());
  }

  py::dict evaluate(const NumberArray& numbers, const DoubleArray& positions, const DoubleArray& cell, const std::array<bool, 3>& pbc,
                    double charge, double spin, bool forces, bool virials, const std::optional<DoubleArray>& potentials,
                    const std::optional<DoubleArray>& fields) {
    System system = make_system(numbers, positions, cell, pbc, charge, spin);
    if (potentials.has_value() != fields.has_value())
      throw py::value_error("expected potentials and fields of the atoms, or neither of them");
    if (potentials) {
      check_shape(*potentials, "potentials", {numbers.shape(0)});
      check_shape(*fields, "fields", {numbers.shape(0), 3});
      system.external = {potentials->data(), fields->data()};
    }
    if (!told_of_ewald_ && leads()) warn_of_ewald(system);
    const DomainResults* results;
    Totals totals;
    {
      py::gil_scoped_release release;
      results = &evaluator_.evaluate(system, forces, virials);
      totals = sum(*results);
    }
    ++evaluations_;
    const std::string error = no_numbers(totals.energy, totals.virial.data());
    if (!error.empty()) throw std::invalid_argument(error);
    return to_dict(*results, totals, forces, forces && virials);
  }

  py::dict intermediates(const NumberArray& numbers, const DoubleArray& positions, const DoubleArray& cell, const std::array<bool, 3>& pbc,
                         double charge, double spin) {
    const System system = make_system(numbers, positions, cell, pbc, charge, spin);
    std::vector<LayerFeatures> features;
    {
      py::gil_scoped_release release;
      evaluator_.evaluate(system, false, false, &features);
    }
    const Hyperparameters& hyper = evaluator_.model().hyper;
    py::dict out;
    if (transport_ != nullptr) out["atoms"] = atoms();
    for (std::size_t layer = 0; layer < features.size(); ++layer) {
      const std::string prefix = "layer" + std::to_string(layer) + "_";
      const LayerFeatures& f = features[layer];
      const std::vector<py::ssize_t> x_shape = {rows(), hyper.num_features}, chi_shape = {rows(), hyper.num_coordinates()};
      out[(prefix + "x_in").c_str()] = to_array(f.x_in, x_shape);
      out[(prefix + "chi_in").c_str()] = to_array(f.chi_in, chi_shape);
      out[(prefix + "x_attended").c_str()] = to_array(f.x_attended, x_shape);
      out[(prefix + "chi_attended").c_str()] = to_array(f.chi_attended, chi_shape);
      out[(prefix + "x_out").c_str()] = to_array(f.x_out, x_shape);
      out[(prefix + "chi_out").c_str()] = to_array(f.chi_out, chi_shape);
    }
    return out;
  }

  py::dict heat_flux(const NumberArray& numbers, const DoubleArray& positions, const DoubleArray& cell, const std::array<bool, 3>& pbc,
                     const DoubleArray& velocities, double charge, double spin, bool shifts) {
    const System system = make_system(numbers, positions, cell, pbc, charge, spin);
    check_shape(velocities, "velocities", {numbers.shape(0), 3});
    HeatFluxShares shares;
    std::vector<double> sums(6, 0.0);  // moments; energies times velocities
    {
      py::gil_scoped_release release;
      shares = evaluator_.heat_flux(system, velocities.data());
      const Model& model = evaluator_.model();
      for (std::size_t row = 0; row < shares.energies.size(); ++row) {
        const auto atom = static_cast<std::size_t>(evaluator_.atoms()[row]);
        const auto species = static_cast<std::size_t>(model.species_of(system.numbers[atom]));
        const double energy = shares.energies[row] - (shifts ? 0.0 : model.energy_shift[species]);
        for (std::size_t k = 0; k < 3; ++k) {
          sums[k] += shares.moments[3 * row + k];
          sums[3 + k] += energy * velocities.data()[3 * atom + k];
        }
      }
      if (transport_ != nullptr) transport_->sum(sums.data(), static_cast<int>(sums.size()));
    }
    py::dict out;
    out["potential"] = to_array({sums.begin(), sums.begin() + 3}, {3});
    out["convective"] = to_array({sums.begin() + 3, sums.end()}, {3});
    out["atoms"] = atoms();
    out["energies"] = to_array(shares.energies, {rows()});
    out["rates"] = to_array(shares.rates, {rows()});
    out["moments"] = to_array(shares.moments, {rows(), 3});
    return out;
  }

  py::array_t<double> polarization_current(const NumberArray& numbers, const DoubleArray& positions, const DoubleArray& cell,
                                           const std::array<bool, 3>& pbc, const DoubleArray& velocities, double charge, double spin) {
    const System system = make_system(numbers, positions, cell, pbc, charge, spin);
    check_shape(velocities, "velocities", {numbers.shape(0), 3});
    std::vector<double> sums(3, 0.0);
    {
      py::gil_scoped_release release;
      const std::vector<double> shares = evaluator_.polarization_current(system, velocities.data());
      for (std::size_t k = 0; k < shares.size(); ++k) sums[k % 3] += shares[k];
      if (transport_ != nullptr) transport_->sum(sums.data(), static_cast<int>(sums.size()));
    }
    return to_array(std::move(sums), {3});
  }

  py::dict info() const {
    py::dict out, stages;
    const EngineReport report = evaluator_.engine().report();
    out["precision"] = precision_;
    out["device"] = device_name(evaluator_.options().device);
    out["threads"] = evaluator_.threads();
    out["instruction_set"] = report.instruction_set;
    out["evaluations"] = evaluations_;
    out["neighbour_rebuilds"] = evaluator_.neighbour_rebuilds();
    if (evaluator_.options().device.kind != DeviceKind::cpu) {
      py::dict bytes;
      bytes["now"] = report.device_memory.now;
      bytes["peak"] = report.device_memory.peak;
      out["device_memory"] = bytes;
      const DeviceWork& work = report.device_work;
      py::dict given;
      given["kernels"] = work.kernels;
      given["copies"] = work.copies;
      given["waits"] = work.waits;
      given["replay"] = work.replay;
      out["device_work"] = given;
    }
    out["tabulated"] = report.tabulated;
    out["table_error"] = py::none();
    if (const TableError& error = report.table_error; error.intervals > 0) {
      py::dict table;
      table["begin"] = error.begin;
      table["value"] = error.value;
      table["derivative"] = error.derivative;
      table["close_value"] = error.close_value;
      table["close_derivative"] = error.close_derivative;
      table["scale"] = error.scale;
      table["intervals"] = error.intervals;
      out["table_error"] = table;
    }
    stages["neighbours"] = evaluator_.neighbour_seconds();
    for (const auto& [stage, seconds] : report.seconds) stages[stage.c_str()] = seconds;
    out["stage_seconds"] = stages;
    if (evaluator_.model().hyper.nonlocal_attention != NonlocalAttention::none) {
      const NonlocalPairs& pairs = report.nonlocal_pairs;
      py::dict nonlocal;
      nonlocal["all"] = pairs.all;
      nonlocal["measured"] = pairs.measured;
      nonlocal["evaluated"] = pairs.evaluated;
      out["nonlocal_pairs"] = nonlocal;
    }
    if (evaluator_.halo() != nullptr) out["halo"] = halo_info(*evaluator_.halo());
    return out;
  }

 private:
  /// Of the whole system, over all processes.
  struct Totals {
    EnergyComponents energy;
    std::vector<double> virial;
  };

  Totals sum(const DomainResults& results) {
    const EnergyComponents& part = results.energy;
    std::vector<double> sums(9, 0.0);
    for (std::size_t at = 0; at < results.virials.size(); ++at) sums[at % 9] += results.virials[at];
    sums.insert(sums.end(), {part.network, part.shifts, part.zbl, part.electrostatics, part.dispersion});
    if (transport_ != nullptr) transport_->sum(sums.data(), static_cast<int>(sums.size()));
    return {{sums[9], sums[10], sums[11], sums[12], sums[13]}, {sums.begin(), sums.begin() + 9}};
  }

  /// Of this process.
  py::dict halo_info(const PlannedHalo& halo) const {
    const DomainCounts domain = evaluator_.domain_counts();
    const HaloTraffic& traffic = halo.traffic();
    py::dict out;
    out["exchanges"] = traffic.exchanges;
    out["messages"] = traffic.messages;
    out["bytes"] = traffic.bytes;
    out["sums"] = traffic.sums;
    out["wait_seconds"] = traffic.wait_seconds;
    out["device_memory"] = evaluator_.options().device_messages;
    out["n_owned"] = domain.n_owned;
    out["n_interior"] = domain.n_interior;
    out["n_near"] = domain.n_near;
    out["n_far"] = domain.n_far;
    out["near_rows_sent"] = halo.near().send_rows.size();
    out["all_rows_sent"] = halo.all().send_rows.size();
    return out;
  }

  bool leads() const { return transport_ == nullptr || transport_->process() == 0; }

  // Once; a system that cannot be evaluated is refused after it.
  void warn_of_ewald(const System& system) {
    const EngineOptions& options = evaluator_.options();
    if (!uses_ewald(evaluator_.model(), options)) return;
    std::string text;
    try {
      const Cell cell = system.make_cell();
      check_electrostatics(evaluator_.model(), options, cell, system.n);
      text = ewald_warning(evaluator_.model(), options, cell, system.n);
    } catch (const std::invalid_argument&) {
    }
    told_of_ewald_ = !text.empty();
    warn(text);
  }

  py::ssize_t rows() const { return static_cast<py::ssize_t>(evaluator_.atoms().size()); }

  py::array_t<int> atoms() const { return py::array_t<int>(rows(), evaluator_.atoms().data()); }

  static EngineOptions options(const std::string& precision, std::optional<double> lr_cutoff, double lr_damping,
                               std::optional<bool> tabulate, std::optional<bool> keep_filters, bool skip_nonlocal,
                               const std::string& device, const std::string& coulomb, std::optional<double> ewald_accuracy,
                               bool dispersion_tail, const Vec3& electric_field, const std::string& ewald_method, bool device_messages) {
    EngineOptions out;
    out.coulomb = parse_coulomb(coulomb);
    out.ewald_accuracy = ewald_accuracy;
    out.ewald_method = parse_ewald_method(ewald_method);
    out.dispersion_tail = dispersion_tail;
    out.electric_field = {electric_field[0], electric_field[1], electric_field[2]};
    out.device_messages = device_messages;
    out.device = parse_device(device);
    out.precision = parse_precision(precision);
    out.long_range_cutoff = lr_cutoff.value_or(std::numeric_limits<double>::infinity());
    out.dispersion_damping = lr_damping;
    out.tabulate = tabulate;
    out.keep_filters = keep_filters;
    out.skip_nonlocal = skip_nonlocal;
    return out;
  }

  System make_system(const NumberArray& numbers, const DoubleArray& positions, const DoubleArray& cell, const std::array<bool, 3>& pbc,
                     double charge, double spin) {
    if (numbers.ndim() != 1) throw py::value_error("numbers must be a one-dimensional array of atomic numbers");
    check_shape(positions, "positions", {numbers.shape(0), 3});
    check_shape(cell, "cell", {3, 3});
    System system;
    if (numbers.shape(0) > std::numeric_limits<int>::max()) throw py::value_error("too many atoms: the engine counts to 2^31");
    numbers_ = atomic_numbers(numbers);
    system.n = static_cast<int>(numbers_.size());
    system.numbers = numbers_.data();
    system.positions = positions.data();
    system.cell = cell.data();
    system.periodic = pbc;
    system.totals = {charge, spin};
    return system;
  }

  py::dict to_dict(const DomainResults& results, const Totals& totals, bool forces, bool virials) const {
    py::dict out, components;
    const Hyperparameters& hyper = evaluator_.model().hyper;
    const EnergyComponents& energy = totals.energy;
    if (transport_ != nullptr) {
      out["atoms"] = atoms();
      out["neighbour_rebuilds"] = evaluator_.neighbour_rebuilds();  // atoms move to other processes when this changes
    }
    out["energy"] = energy.total();
    out["energies"] = to_array(results.energies, {rows()});
    if (forces) {
      out["forces"] = to_array(results.forces, {rows(), 3});
      out["virial"] = to_array(totals.virial, {3, 3});
      if (virials) out["virials"] = to_array(results.virials, {rows(), 3, 3});
    }
    if (hyper.charge_head) out["charges"] = to_array(results.charges, {rows()});
    if (hyper.hirshfeld_head) out["hirshfeld_ratios"] = to_array(results.hirshfeld_ratios, {rows()});
    if (hyper.c6_head) out["c6_ratios"] = to_array(results.c6_ratios, {rows()});
    if (predicts_uncertainty(evaluator_.model(), evaluator_.options()))
      out["forces_uncertainty"] = to_array(results.force_uncertainties, {rows()});
    components["nn"] = energy.network + energy.shifts;
    components["nn_noshift"] = energy.network;
    components["zbl"] = energy.zbl;
    components["electrostatics"] = energy.electrostatics;
    components["dispersion"] = energy.dispersion;
    out["energy_components"] = components;
    return out;
  }

  std::string precision_;
  Transport* transport_;  // of the evaluator; null for a process alone
  Evaluator evaluator_;
  std::vector<int> numbers_;  // of the system at hand
  long evaluations_ = 0;
  bool told_of_ewald_ = false;
};

std::unique_ptr<PythonEngine> make_engine(std::shared_ptr<const Model> model, const std::string& precision, std::int64_t threads,
                                          std::optional<double> lr_cutoff, double lr_damping, double skin, std::optional<bool> tabulate,
                                          const py::object& transport, bool skip_nonlocal, const std::string& device,
                                          const std::string& coulomb, std::optional<double> ewald_accuracy, bool dispersion_tail,
                                          const Vec3& electric_field, const std::string& ewald_method, std::optional<bool> keep_filters) {
  check_threads(threads);
  return std::make_unique<PythonEngine>(std::move(model), precision, static_cast<int>(threads), lr_cutoff, lr_damping, skin, tabulate,
                                        keep_filters, skip_nonlocal, device, coulomb, ewald_accuracy, dispersion_tail, electric_field,
                                        ewald_method, transport.is_none() ? nullptr : make_python_transport(transport),
                                        py::getattr(transport, "device_memory", py::bool_(false)).cast<bool>());
}

}  // namespace

void bind_engine(py::module_& module) {
  py::register_exception<FailedElsewhere>(module, "FailedElsewhere", PyExc_RuntimeError);
  py::class_<PythonEngine>(module, "Engine",
                           "Evaluates a model; keeps its neighbour list between calls. One call at a time. With a transport (see "
                           "so3md.parallel), one of several that share the work: evaluate is collective, all give the same "
                           "structure, and each gets the rows of its atoms, whose numbers are in \"atoms\", and the sums over all.")
      .def(py::init(&make_engine), py::arg("model"), py::arg("precision") = "mixed", py::arg("threads") = 0, py::arg("lr_cutoff") = 12.0,
           py::arg("lr_damping") = 2.0, py::arg("skin") = 0.5, py::arg("tabulate") = py::none(), py::arg("transport") = py::none(),
           py::arg("skip_nonlocal") = true, py::arg("device") = "cpu", py::arg("coulomb") = "cutoff",
           py::arg("ewald_accuracy") = py::none(), py::arg("dispersion_tail") = false,
           py::arg_v("electric_field", Vec3{}, "(0.0, 0.0, 0.0)"), py::arg("ewald_method") = "auto", py::arg("keep_filters") = py::none())
      .def("evaluate", &PythonEngine::evaluate, py::arg("numbers"), py::arg("positions"), py::arg("cell"), py::arg("pbc"),
           py::arg("charge") = 0.0, py::arg("spin") = 0.0, py::arg("forces") = true, py::arg("virials") = false,
           py::arg("potentials") = py::none(), py::arg("fields") = py::none())
      .def("intermediates", &PythonEngine::intermediates, py::arg("numbers"), py::arg("positions"), py::arg("cell"), py::arg("pbc"),
           py::arg("charge") = 0.0, py::arg("spin") = 0.0)
      .def("heat_flux", &PythonEngine::heat_flux, py::arg("numbers"), py::arg("positions"), py::arg("cell"), py::arg("pbc"),
           py::arg("velocities"), py::arg("charge") = 0.0, py::arg("spin") = 0.0, py::arg("shifts") = true,
           "\"potential\" and \"convective\" parts of the heat flux, of potential energies alone, summed over all processes; and what the\n"
           "\"atoms\" of this process bring to it: their energies, the rates of these, and moments, whose sum is the potential part.\n"
           "Without shifts, the convective part leaves out the atomic shifts.")
      .def("polarization_current", &PythonEngine::polarization_current, py::arg("numbers"), py::arg("positions"), py::arg("cell"),
           py::arg("pbc"), py::arg("velocities"), py::arg("charge") = 0.0, py::arg("spin") = 0.0,
           "The current of polarization (3), e A per unit of time of the velocities, summed over all processes.")
      .def("info", &PythonEngine::info);
  module.def(
      "device_name", [](const std::string& name) { return device_name(parse_device(name)); }, py::arg("name"),
      "The name of a device as the engine writes it: \"cpu\", \"cuda\", \"cuda:1\". Raises ValueError for an unknown one.");
  module.def(
      "check_charge_and_spin",
      [](double protons, double charge, double spin) {
        const ChargeAndSpinCheck check = check_charge_and_spin(protons, {charge, spin});
        return std::pair(check.impossible, check.message);
      },
      py::arg("protons"), py::arg("charge"), py::arg("spin"),
      "Whether no atoms with so many protons together can have this total charge (e) and total spin S, and a message; an empty one if\n"
      "there is nothing to say.");
  module.def(
      "count_devices", [](const std::string& device) { return count_devices(parse_device(device).kind); }, py::arg("device"),
      "Number of devices of this kind (\"cpu\", \"cuda\"). Raises ValueError for an unknown kind, and RuntimeError, saying why, where\n"
      "none can be used.");
  module.def(
      "measure_speed",
      [](const std::string& device) {
        const DeviceSpeed speed = measure_speed(parse_device(device));
        py::dict out;
        out["operations_per_second"] = speed.operations_per_second;
        out["double_operations_per_second"] = speed.double_operations_per_second;
        out["bytes_per_second"] = speed.bytes_per_second;
        return out;
      },
      py::arg("device"),
      "Rates of multiply-adds (two operations each) in single and double precision, and of a copy within the memory of\na GPU, as "
      "measured now. Raises ValueError and RuntimeError as count_devices.");
  module.def("default_threads", &default_threads,
             "Threads where nobody gives a number: OMP_NUM_THREADS, else the cores that this process may run on, or the whole cores of\n"
             "time that its container grants, if they are fewer.");
  module.def("threads_in_environment", &threads_in_environment, "The number in OMP_NUM_THREADS; None where there is none.");
  module.def("cpu_quota", &cpu_quota, py::arg("root") = "",
             "Cores of time that the control groups of this process grant it, such as 1.5; None where they set no limit. root: what\n"
             "stands before /proc and /sys.");
  module.def("instruction_sets", &usable_instruction_sets, "Instruction sets that this build can use here, the widest last.");
  module.def("processor_instruction_sets", &processor_instruction_sets,
             "Those that this processor has, whether or not this build has them, the widest last.");
  module.def("instruction_set", &chosen_instruction_set,
             "The instruction set that engines use here. Raises RuntimeError where SO3MD_INSTRUCTION_SET names one that is not usable.");
  module.def(
      "build_info",
      [] {
        py::dict out;
        out["compiler"] = kCompiler;
        out["instruction_sets"] = built_instruction_sets();
        return out;
      },
      "What this module was compiled by, and the instruction sets that are in it, whatever this processor has.");
}

}  // namespace so3md
