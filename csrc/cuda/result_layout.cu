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
  if (!forces) return;
  for (std::size_t k = 0; k < 3; ++k) to[layout.forces() + 3 * point + k] = from[layout.forces() + 3 * atom + k];
  for (std::size_t k = 0; k < 9; ++k) to[layout.virials() + 9 * point + k] = from[layout.virials() + 9 * atom + k];
}

}  // namespace

void reorder_results(const ResultLayout& layout, int atoms, const int* order, bool forces, const double* from, double* to,
                     const Stream& stream) {
  copy_on_device(to, from, layout.energies() * sizeof(double), stream);
  launch(stream, reorder_results_kernel, count_blocks(atoms, kThreads), kThreads, 0, layout, atoms, order, forces, from, to);
}

}  // namespace so3md::cuda
