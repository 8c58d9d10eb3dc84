#include "cuda/electric_field.h"
#include "cuda/warp.h"

namespace so3md::cuda {

namespace {

constexpr int kThreads = 128;

__global__ void add_field_kernel(int n_owned, ElectricField field, AtomPaths paths, FieldRows rows) {
  const std::int64_t i = global_thread();
  if (i >= n_owned) return;
  const std::int64_t row = paths.rows == nullptr ? i : paths.rows[i];
  add_field(field, paths.positions + 3 * row, i, rows);
}

}  // namespace

void add_electric_field(const DeviceDomain& domain, const ElectricField& field, const AtomPaths& paths, const FieldRows& rows,
                        const Stream& stream) {
  launch(stream, add_field_kernel, count_blocks(domain.n_owned, kThreads), kThreads, 0, domain.n_owned, field, paths, rows);
}

}  // namespace so3md::cuda
