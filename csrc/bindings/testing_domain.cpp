// Python binding of what divides a system among processes, for tests and for looking at it.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <string>
#include <vector>

#include "bindings/bindings.h"
#include "geometry/local_domain.h"
#include "geometry/partition.h"

namespace so3md {

namespace {

using IntArray = Array<int>;

void require_columns(const py::array& array, const char* name, py::ssize_t rows, py::ssize_t columns) {
  if (array.ndim() == 2 && (rows < 0 || array.shape(0) == rows) && array.shape(1) == columns) return;
  throw py::value_error(std::string(name) + " has the shape " + shape_text(array) + ": expected (" +
                        (rows < 0 ? "n" : std::to_string(rows)) + ", " + std::to_string(columns) + ")");
}

py::array_t<int> python_partition(const DoubleArray& positions, const DoubleArray& cell, const std::array<bool, 3>& periodic,
                                  int num_processes) {
  require_columns(positions, "positions", -1, 3);
  require_columns(cell, "cell", 3, 3);
  if (num_processes < 1) throw py::value_error("the number of processes is " + std::to_string(num_processes) + ": expected 1 or more");
  const std::vector<int> process =
      partition(static_cast<int>(positions.shape(0)), positions.data(), Cell(cell.data(), periodic), num_processes);
  return array_of(process.data(), {positions.shape(0)});
}

py::dict python_local_domain(const DoubleArray& positions, const DoubleArray& cell, const std::array<bool, 3>& periodic,
                             const std::optional<IntArray>& owners, int process, double short_radius, double long_radius) {
  require_columns(positions, "positions", -1, 3);
  require_columns(cell, "cell", 3, 3);
  std::vector<AtomOwner> all;
  if (owners) {
    require_columns(*owners, "owners", positions.shape(0), 2);
    for (py::ssize_t i = 0; i < positions.shape(0); ++i) all.push_back({owners->at(i, 0), owners->at(i, 1)});
  }
  ThreadPool pool(1);
  LocalDomain local(short_radius, long_radius);
  local.build(static_cast<int>(positions.shape(0)), positions.data(), Cell(cell.data(), periodic), owners ? all.data() : nullptr, process,
              pool);
  const Domain domain = local.domain();
  py::dict out;
  out["n_owned"] = domain.n_owned;
  out["n_interior"] = domain.n_interior;
  out["n_near"] = domain.n_near;
  out["n_far"] = domain.n_far;
  out["slot"] = array_of(domain.slot, {domain.n_sites});
  out["positions"] = array_of(domain.positions, {domain.n_sites, 3});
  out["short_offsets"] = array_of(domain.short_offsets, {domain.n_owned + 1});
  out["short_sites"] = array_of(domain.short_sites, {static_cast<py::ssize_t>(domain.short_offsets[domain.n_owned])});
  if (domain.long_offsets != nullptr) {
    out["long_offsets"] = array_of(domain.long_offsets, {domain.n_owned + 1});
    out["long_sites"] = array_of(domain.long_sites, {static_cast<py::ssize_t>(domain.long_offsets[domain.n_owned])});
  }
  out["point_of_slot"] = local.point_of_slot();
  py::list halo;
  for (const AtomOwner& owner : local.halo()) halo.append(py::make_tuple(owner.process, owner.point));
  out["halo"] = halo;
  return out;
}

}  // namespace

void bind_domain(py::module_& module) {
  module.def("partition", &python_partition, py::arg("positions"), py::arg("cell"), py::arg("pbc"), py::arg("num_processes"),
             "The process that works on each atom (n,), where all know all positions.");
  module.def("local_domain", &python_local_domain, py::arg("positions"), py::arg("cell"), py::arg("pbc"), py::arg("owners"),
             py::arg("process"), py::arg("short_radius"), py::arg("long_radius"),
             "The domain of a process, see csrc/geometry/local_domain.h; owners: (n, 2) process and point there, or None.");
}

}  // namespace so3md
