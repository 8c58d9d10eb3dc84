#include "cuda/result_layout.h"

namespace so3md::cuda {

namespace {

constexpr int kThreads = 256;

__global__ void reorder_results_kernel(ResultLayout layout, int atoms, const int* order, bool forces, const double* from, double* to) {
  const std::int64_t i = global_thread();
  if (i >= atoms) return;
  const std::size_t atom = static_cast<std::size_t>(i), point = static_cast<std::size_t>(order[i]);
  to[layout.energies() + point] = from[layout.energies() + atom];
  if (layout.has_charges()) to[layout.charges() + point] = from[layout.charges() + atom];
  if (layout.has_ratios()) to[layout.hirshfeld_ratios() + point] = from[layout.hirshfeld_ratios() + atom];
  if (layout.has_c6_ratios()) to[layout.c6_ratios() + point] = from[layout.c6_ratios() + atom];
  if (!forces) return;
  for (std::size_t k = 0; k < 3; ++k) to[layout.forces() + 3 * point + k] = from[layout.forces() + 3 * atom + k];
  for (std::size_t k = 0; k < 9; ++k) to[layout.virials() + 9 * point + k] = from[layout.virials() + 9 * atom + k];
}

void unpack_energies(const ResultLayout& layout, const double* numbers, DomainResults& out) {
  out.system_energies.clear();
  EnergyComponents all;
  const double* sums = numbers + layout.sums();
  for (int s = 0; s < layout.systems(); ++s, sums += ResultLayout::kSums) {
    out.system_energies.push_back({sums[0], sums[1], sums[2], sums[3], sums[4]});
    all.network += sums[0];
    all.shifts += sums[1];
    all.zbl += sums[2];
    all.electrostatics += sums[3];
    all.dispersion += sums[4];
  }
  out.energy = all;
}

}  // namespace

void reorder_results(const ResultLayout& layout, int atoms, const int* order, bool forces, const double* from, double* to,
                     const Stream& stream) {
  copy_on_device(to, from, layout.energies() * sizeof(double), stream);
  launch(stream, reorder_results_kernel, count_blocks(atoms, kThreads), kThreads, 0, layout, atoms, order, forces, from, to);
}

void unpack_results(const ResultLayout& layout, const double* numbers, bool forces, DomainResults& out) {
  const auto atoms = static_cast<std::size_t>(layout.atoms());
  const auto take = [&](std::vector<double>& to, std::size_t place, std::size_t count) {
    to.assign(numbers + place, numbers + place + count);
  };
  take(out.energies, layout.energies(), atoms);
  take(out.charges, layout.charges(), layout.has_charges() ? atoms : 0);
  take(out.hirshfeld_ratios, layout.hirshfeld_ratios(), layout.has_ratios() ? atoms : 0);
  take(out.c6_ratios, layout.c6_ratios(), layout.has_c6_ratios() ? atoms : 0);
  if (forces) {
    take(out.forces, layout.forces(), 3 * atoms);
    take(out.virials, layout.virials(), 9 * atoms);
  } else {
    out.forces.assign(3 * atoms, 0.0);
    out.virials.assign(9 * atoms, 0.0);
  }
  unpack_energies(layout, numbers, out);
}

}  // namespace so3md::cuda
