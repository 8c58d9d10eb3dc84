// One source for two compilers: nvcc, for GPUs, and with SO3MD_CUDA_EMULATION an ordinary one, for the host (csrc/cuda/emulation).
//
// Kernels use what both offer: __syncthreads, __syncwarp, __shfl_*_sync, __ballot_sync, static shared memory, dynamic_shared<T>(), integer
// atomics. They are started by launch(). Sums of floating-point numbers never depend on the order of threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

#include "evaluation/device.h"

#if defined(SO3MD_CUDA_EMULATION)
#include "cuda/emulation/language.h"
#include "cuda/emulation/runtime_api.h"
#include "cuda/emulation/scheduler.h"
#else
#include <cuda_runtime.h>
#endif

namespace so3md::cuda {

inline constexpr unsigned kFullWarp = 0xffffffffu;

/// A call of CUDA that failed; the message says what to do.
class DeviceError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Throws DeviceError unless `status` is success. `doing`: what was tried, for the message.
void check(cudaError_t status, const char* doing);

/// Makes the device the one that this thread of the host works on. Throws DeviceError: no driver, driver too old, no device of that number.
void use_device(int device);

int count_devices();          ///< throws DeviceError as use_device()
std::string device_name();    ///< of the present device
int count_multiprocessors();  ///< of the present device
std::size_t free_memory();    ///< of the present device, bytes

/// Work in the order in which it is given.
class Stream {
 public:
  Stream();
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  cudaStream_t handle() const { return handle_; }
  /// Until all work is done. Errors of kernels show here.
  void synchronize() const;

  /// What was given to it, counted; for whoever wants to know, to be set back at any time.
  DeviceWork& work() const { return work_; }

 private:
  cudaStream_t handle_ = nullptr;
  mutable DeviceWork work_;
};

/// A chain of work that is recorded once, and then given to the device as a whole. What it reads and writes must stay in place.
class Graph {
 public:
  Graph() = default;
  ~Graph() { clear(); }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  /// Calls `work`, which gives work to the stream; nothing is done yet. Work that cannot be recorded, such as waiting, throws, and leaves
  /// no graph.
  template <class Work>
  void record(const Stream& stream, const Work& work) {
    clear();
    begin(stream);
    try {
      work();
    } catch (...) {
      abandon(stream);
      throw;
    }
    end(stream);
  }

  void run(const Stream& stream) const;
  bool recorded() const { return handle_ != nullptr; }
  void clear();

 private:
  static void begin(const Stream& stream);
  static void abandon(const Stream& stream);
  void end(const Stream& stream);

  cudaGraphExec_t handle_ = nullptr;
};

/// A moment in the work of a stream.
class Event {
 public:
  Event();
  ~Event();
  Event(Event&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Event& operator=(Event&&) = delete;
  void record(const Stream& stream);
  double seconds_since(const Event& begin) const;  ///< both must have passed

 private:
  cudaEvent_t handle_ = nullptr;
};

void set_bytes(void* to, int value, std::size_t bytes, const Stream& stream);
void copy_to_device(void* to, const void* from, std::size_t bytes, const Stream& stream);
void copy_to_host(void* to, const void* from, std::size_t bytes, const Stream& stream);
void copy_on_device(void* to, const void* from, std::size_t bytes, const Stream& stream);

/// Dynamic shared memory of the block, aligned to 16 bytes.
template <class T>
__device__ inline T* dynamic_shared() {
#if defined(SO3MD_CUDA_EMULATION)
  return reinterpret_cast<T*>(emulation::place.dynamic_shared);
#else
  extern __shared__ __align__(16) unsigned char so3md_dynamic_shared[];
  return reinterpret_cast<T*>(so3md_dynamic_shared);
#endif
}

/// Without a request of its own, a kernel has at most so much dynamic shared memory; launch() makes the request.
inline constexpr std::size_t kPlainSharedBytes = 48 * 1024;

/// Starts kernel(arguments...) on `grid` blocks of `block` threads; nothing is done for an empty grid.
template <class... Parameters, class... Arguments>
void launch(const Stream& stream, void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t dynamic_shared_bytes,
            Arguments&&... arguments) {
  static_assert(sizeof...(Parameters) == sizeof...(Arguments), "a kernel is started with as many arguments as it has parameters");
  static_assert((std::size_t{0} + ... + sizeof(Parameters)) <= 4096,
                "too much for the parameters of a kernel: put it into memory of the device");
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  ++stream.work().kernels;
#if defined(SO3MD_CUDA_EMULATION)
  // The arguments are copied, as on a GPU: the kernel may run later.
  emulation::run_kernel(
      stream.handle(), grid, block, dynamic_shared_bytes,
      [kernel, values = std::tuple<Parameters...>(static_cast<Parameters>(arguments)...)] { std::apply(kernel, values); });
#else
  if (dynamic_shared_bytes > kPlainSharedBytes)
    check(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(dynamic_shared_bytes)),
          "asking for shared memory");
  kernel<<<grid, block, dynamic_shared_bytes, stream.handle()>>>(static_cast<Parameters>(arguments)...);
  check(cudaGetLastError(), "starting a kernel");
#endif
}

/// Blocks of `size` that hold `count` items.
inline unsigned count_blocks(std::int64_t count, std::int64_t size) { return static_cast<unsigned>((count + size - 1) / size); }

/// Number of the running thread in a grid of one dimension.
__device__ inline std::int64_t global_thread() { return static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; }

}  // namespace so3md::cuda
