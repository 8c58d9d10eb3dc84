#include "cuda/system_sums.h"
#include "cuda/warp.h"

namespace so3md::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kChunkAtoms = 4096;

struct Columns {
  const double* values[SystemSums::kMaxColumns];
  int count;
};

/// Sum over the threads of a block; thread 0 has it.
__device__ double block_sum(double value) {
  __shared__ double parts[kThreads / kWarp];
  value = warp_sum(value);
  if (lane_number() == 0) parts[threadIdx.x / kWarp] = value;
  __syncthreads();
  double total = 0.0;
  if (threadIdx.x == 0)
    for (double part : parts) total += part;
  __syncthreads();
  return total;
}

/// A block per chunk.
__global__ void sum_chunks(const SumChunk* chunks, Columns columns, double* partial) {
  const SumChunk chunk = chunks[blockIdx.x];
  for (int c = 0; c < columns.count; ++c) {
    double sum = 0.0;
    if (columns.values[c] != nullptr)
      for (int atom = chunk.begin + static_cast<int>(threadIdx.x); atom < chunk.end; atom += kThreads) sum += columns.values[c][atom];
    sum = block_sum(sum);
    if (threadIdx.x == 0) partial[static_cast<std::int64_t>(blockIdx.x) * columns.count + c] = sum;
  }
}

/// A block per chunk.
__global__ void sum_groups_of_chunks(const SumChunk* chunks, const double* values, const int* group, int groups, double* partial) {
  const SumChunk chunk = chunks[blockIdx.x];
  for (int g = 0; g < groups; ++g) {
    double sum = 0.0;
    for (int atom = chunk.begin + static_cast<int>(threadIdx.x); atom < chunk.end; atom += kThreads)
      if (group[atom] == g) sum += values[atom];
    sum = block_sum(sum);
    if (threadIdx.x == 0) partial[static_cast<std::int64_t>(blockIdx.x) * groups + g] = sum;
  }
}

/// A warp per system and column.
__global__ void sum_partial(const double* partial, const int* first_chunk, int systems, int columns, double* sums) {
  const std::int64_t which = global_thread() / kWarp;
  if (which >= std::int64_t{systems} * columns) return;
  const auto system = which / columns, column = which % columns;
  double sum = 0.0;
  for (std::int64_t chunk = first_chunk[system] + lane_number(); chunk < first_chunk[system + 1]; chunk += kWarp)
    sum += partial[chunk * columns + column];
  sum = warp_sum(sum);
  if (lane_number() == 0) sums[which] = sum;
}

}  // namespace

void SystemSums::set_systems(const std::vector<int>& first, const Stream& stream) {
  if (first == first_) return;
  first_ = first;
  host_chunks_.clear();
  host_first_chunk_ = {0};
  host_system_.clear();
  one_chunk_each_ = true;
  for (int system = 0; system < count(); ++system) {
    const int end = first[static_cast<std::size_t>(system) + 1];
    for (int begin = first[static_cast<std::size_t>(system)]; begin < end; begin += kChunkAtoms)
      host_chunks_.push_back({system, begin, begin + kChunkAtoms < end ? begin + kChunkAtoms : end});
    one_chunk_each_ = one_chunk_each_ && static_cast<int>(host_chunks_.size()) == host_first_chunk_.back() + 1;
    host_first_chunk_.push_back(static_cast<int>(host_chunks_.size()));
    if (count() > 1) host_system_.resize(static_cast<std::size_t>(end), system);
  }
  chunks_.upload(host_chunks_, stream);
  first_chunk_.upload(host_first_chunk_, stream);
  system_.upload(host_system_, stream);
}

void SystemSums::sum(std::initializer_list<const double*> columns, double* sums, const Stream& stream) {
  Columns task{};
  for (const double* values : columns) task.values[task.count++] = values;
  const auto chunks = static_cast<unsigned>(host_chunks_.size());
  partial_.resize(host_chunks_.size() * columns.size());
  // The sum of a system's only chunk is that of the system.
  launch(stream, sum_chunks, chunks, kThreads, 0, chunks_.data(), task, one_chunk_each_ ? sums : partial_.data());
  if (!one_chunk_each_) sum_chunk_columns(task.count, sums, stream);
}

void SystemSums::sum_groups(const double* values, const int* group, int groups, double* sums, const Stream& stream) {
  partial_.resize(host_chunks_.size() * static_cast<std::size_t>(groups));
  launch(stream, sum_groups_of_chunks, static_cast<unsigned>(host_chunks_.size()), kThreads, 0, chunks_.data(), values, group, groups,
         one_chunk_each_ ? sums : partial_.data());
  if (!one_chunk_each_) sum_chunk_columns(groups, sums, stream);
}

void SystemSums::sum_chunk_columns(int columns, double* sums, const Stream& stream) const {
  launch(stream, sum_partial, count_blocks(std::int64_t{count()} * columns * kWarp, kThreads), kThreads, 0, partial_.data(),
         first_chunk_.data(), count(), columns, sums);
}

}  // namespace so3md::cuda
