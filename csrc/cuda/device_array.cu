#include <atomic>
#include <string>

#include "cuda/device_array.h"

namespace so3md::cuda {

namespace {

std::atomic<std::size_t> in_use{0}, peak{0};
std::atomic<std::int64_t> allocations{0};

std::string megabytes(std::size_t bytes) { return std::to_string(bytes / 1000000) + " MB"; }

}  // namespace

DeviceMemory memory_use() { return {in_use, peak}; }
std::int64_t count_allocations() { return allocations; }

namespace detail {

void* allocate_device(std::size_t bytes) {
  if (bytes == 0) return nullptr;
  void* memory = nullptr;
  const cudaError_t status = cudaMalloc(&memory, bytes);
  if (status == cudaErrorMemoryAllocation) {
    std::size_t free = 0, total = 0;
    (void)cudaGetLastError();
    (void)cudaMemGetInfo(&free, &total);
    throw DeviceError("the GPU has no memory left: " + megabytes(bytes) + " were asked for, " + megabytes(free) + " of " +
                      megabytes(total) + " are free, and so3md uses " + megabytes(in_use) +
                      "; use a smaller system, precision 'mixed', several GPUs (MPI), or device='cpu'");
  }
  check(status, "allocating memory");
  ++allocations;
  std::size_t now = in_use += bytes, highest = peak;
  while (now > highest && !peak.compare_exchange_weak(highest, now)) {
  }
  return memory;
}

void free_device(void* memory, std::size_t bytes) noexcept {
  if (memory == nullptr) return;
  (void)cudaFree(memory);
  in_use -= bytes;
}

void* allocate_pinned(std::size_t bytes) {
  if (bytes == 0) return nullptr;
  void* memory = nullptr;
  check(cudaMallocHost(&memory, bytes), "allocating pinned memory of the host");
  ++allocations;
  return memory;
}

void free_pinned(void* memory) noexcept {
  if (memory != nullptr) (void)cudaFreeHost(memory);
}

}  // namespace detail

}  // namespace so3md::cuda
