// Python binding of the neighbour list, for the reference model and for looking at lists.
#include "geometry/neighbour_list.h"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bindings/bindings.h"
#include "common/resources.h"
#include "network/pair_blocks.h"

namespace so3md {

namespace py = pybind11;

namespace {

// The list with a thread pool of its own.
class PythonNeighbourList {
 public:
  PythonNeighbourList(double short_cutoff, double long_cutoff, double skin) : list_(short_cutoff, long_cutoff, skin) {}

  bool update(const DoubleArray& positions, const DoubleArray& cell, const std::array<bool, 3>& periodic, std::int64_t threads) {
    if (positions.ndim() != 2 || positions.shape(1) != 3) {
      throw py::value_error("positions have the shape " + shape_text(positions) + ": expected (number of atoms, 3)");
    }
    if (cell.ndim() != 2 || cell.shape(0) != 3 || cell.shape(1) != 3) {
      throw py::value_error("the cell has the shape " + shape_text(cell) + ": expected (3, 3)");
    }
    const int n = static_cast<int>(positions.shape(0));
    const double* r = positions.data();
    const double* vectors = cell.data();
    py::gil_scoped_release release;
    check_threads(threads);
    if (!pool_ || threads_ != threads) pool_ = std::make_unique<ThreadPool>(static_cast<int>(threads));
    threads_ = threads;
    return list_.update(n, r, Cell(vectors, periodic), *pool_);
  }

  py::tuple short_pairs() const {
    const Domain domain = list_.domain();
    return pairs(domain.short_offsets, domain.short_sites);
  }

  py::object long_pairs() const {
    const Domain domain = list_.domain();
    if (!domain.long_offsets) return py::none();
    return pairs(domain.long_offsets, domain.long_sites);
  }

  py::dict domain() const {
    const Domain domain = list_.domain();
    py::dict result;
    result["slot"] = array_of(domain.slot, {domain.n_sites});
    result["positions"] = array_of(domain.positions, {domain.n_sites, 3});
    result["short_offsets"] = array_of(domain.short_offsets, {domain.n_owned + 1});
    result["short_sites"] = array_of(domain.short_sites, {domain.short_offsets[domain.n_owned]});
    if (domain.long_offsets) {
      result["long_offsets"] = array_of(domain.long_offsets, {domain.n_owned + 1});
      result["long_sites"] = array_of(domain.long_sites, {domain.long_offsets[domain.n_owned]});
    }
    return result;
  }

  py::dict pair_blocks() {
    pair_blocks_.update(list_.domain());
    py::list ranges;
    for (const PairBlock& block : pair_blocks_.blocks())
      ranges.append(py::make_tuple(block.begin, block.end, block.rim_begin, block.rim_end));
    py::dict result;
    result["blocks"] = ranges;
    result["num_interior"] = pair_blocks_.num_interior();
    for (const auto& [name, values] : {std::pair{"rows", &pair_blocks_.rows()},
                                       {"rim_slots", &pair_blocks_.rim_slots()},
                                       {"gathered_first", &pair_blocks_.gathered_first()},
                                       {"gathered", &pair_blocks_.gathered()}})
      result[name] = py::array_t<int>(static_cast<py::ssize_t>(values->size()), values->data());
    return result;
  }

  const NeighbourList& list() const { return list_; }

 private:
  py::tuple pairs(const std::int64_t* offsets, const int* sites) const {
    const Domain domain = list_.domain();
    const py::ssize_t n_pairs = offsets[domain.n_owned];
    py::array_t<int> i(n_pairs), j(n_pairs);
    py::array_t<double> displacements({n_pairs, py::ssize_t{3}});
    auto d = displacements.mutable_unchecked<2>();
    for (int centre = 0; centre < domain.n_owned; ++centre) {
      for (std::int64_t entry = offsets[centre]; entry < offsets[centre + 1]; ++entry) {
        const py::ssize_t site = sites[entry];
        i.mutable_at(entry) = list_.order()[centre];
        j.mutable_at(entry) = list_.order()[domain.slot[site]];
        for (int k = 0; k < 3; ++k) d(entry, k) = domain.positions[3 * site + k] - domain.positions[3 * py::ssize_t{centre} + k];
      }
    }
    return py::make_tuple(i, j, displacements);
  }

  NeighbourList list_;
  PairBlocks pair_blocks_;
  std::unique_ptr<ThreadPool> pool_;
  std::int64_t threads_ = 0;
};

}  // namespace

void bind_neighbour_list(py::module_& module) {
  py::class_<PythonNeighbourList>(module, "NeighbourList",
                                  R"(Pairs of atoms within a short and a long cutoff, with a skin (all lengths in A).

long_cutoff 0: no long list; infinity: no cutoff, for molecules only, without a list. Impossible lengths raise ValueError.)")
      .def(py::init<double, double, double>(), py::arg("short_cutoff"), py::arg("long_cutoff") = 0.0, py::arg("skin") = 0.5)
      .def("update", &PythonNeighbourList::update, py::arg("positions"), py::arg("cell"), py::arg("pbc"), py::arg("threads") = 1,
           R"(Take new positions (n, 3) and a cell (3, 3; rows are vectors), both in A, and the periodicity (3 bools).

Returns whether the lists were built again. Raises ValueError for positions that are not finite and for impossible cells.)")
      .def("short_pairs", &PythonNeighbourList::short_pairs,
           R"(The short list as (i, j, displacement): indices (m,) as given to update, displacement r_j - r_i (m, 3) in A.

Each pair is there in both directions. Pairs in the skin may be there or not.)")
      .def("long_pairs", &PythonNeighbourList::long_pairs, "The long list in the same form; None if there is none.")
      .def("domain", &PythonNeighbourList::domain,
           "What the engine sees, in internal numbers: slot, positions, short_offsets, short_sites, long_offsets, long_sites.")
      .def("pair_blocks", &PythonNeighbourList::pair_blocks,
           R"(Who evaluates which entry of the short list (csrc/network/pair_blocks.h), in internal numbers.

blocks: (begin, end, rim_begin, rim_end) of each; num_interior; rows, rim_slots, gathered_first, gathered.)")
      .def_property_readonly(
          "order", [](const PythonNeighbourList& self) { return self.list().order(); },
          "order[internal number] = index as given to update.")
      .def_property_readonly("updates", [](const PythonNeighbourList& self) { return self.list().updates(); })
      .def_property_readonly("rebuilds", [](const PythonNeighbourList& self) { return self.list().rebuilds(); });
}

}  // namespace so3md
