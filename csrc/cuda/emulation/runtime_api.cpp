#include "cuda/emulation/runtime_api.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "cuda/emulation/scheduler.h"

struct EmulatedGraph {
  std::vector<std::function<void()>> work;
};
struct EmulatedStream {
  EmulatedGraph recorded;
  bool spoilt = false;
};
struct EmulatedEvent {
  std::chrono::steady_clock::time_point time;
};

namespace {

constexpr std::size_t kGuard = 256;  // bytes on either side; keeps the alignment that cudaMalloc promises
constexpr unsigned char kGuardByte = 0xa5;
std::atomic<std::size_t> bytes_in_use{0};
thread_local int current_device = 0;
thread_local EmulatedStream* recording = nullptr;  // of this thread
thread_local long long waits = 0;

// Memory of the host that copies can go on with in the background: bytes by where it begins.
std::mutex pinned_mutex;
std::map<const unsigned char*, std::size_t>& pinned() {
  static std::map<const unsigned char*, std::size_t> all;
  return all;
}

bool is_pinned(const void* memory, std::size_t bytes) {
  const auto* begin = static_cast<const unsigned char*>(memory);
  const std::lock_guard lock(pinned_mutex);
  auto block = pinned().upper_bound(begin);
  if (block == pinned().begin()) return false;
  --block;
  return begin + bytes <= block->first + block->second;
}

// Whether this may not be done now, since a stream is recorded.
bool spoils_recording() {
  if (recording != nullptr) recording->spoilt = true;
  return recording != nullptr;
}

// Does the work, or records it.
template <class Work>
cudaError_t give(cudaStream_t stream, Work work) {
  if (stream != nullptr && stream == recording)
    stream->recorded.work.emplace_back(std::move(work));
  else
    work();
  return cudaSuccess;
}

long long number_of(const char* variable, long long otherwise) {
  const char* text = std::getenv(variable);
  return text == nullptr ? otherwise : std::strtoll(text, nullptr, 10);
}

std::size_t device_memory() {
  return static_cast<std::size_t>(number_of("SO3MD_EMULATION_MEMORY", std::numeric_limits<long long>::max() / 2));
}

void check_guard(const unsigned char* guard, const char* side) {
  if (std::all_of(guard, guard + kGuard, [](unsigned char byte) { return byte == kGuardByte; })) return;
  std::fprintf(stderr, "emulated GPU: a kernel wrote %s the end of an array on the device\n", side);
  std::abort();
}

}  // namespace

const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorInsufficientDriver:
      return "CUDA driver version is insufficient for CUDA runtime version";
    case cudaErrorNoDevice:
      return "no CUDA-capable device is detected";
    case cudaErrorInvalidDevice:
      return "invalid device ordinal";
    case cudaErrorStreamCaptureUnsupported:
      return "operation not permitted when stream is capturing";
    case cudaErrorStreamCaptureInvalidated:
      return "operation failed due to a previous error during capture";
    default:
      return "invalid argument";
  }
}

cudaError_t cudaGetLastError() { return cudaSuccess; }

cudaError_t cudaGetDeviceCount(int* count) {
  const long long devices = number_of("SO3MD_EMULATION_DEVICES", 1);
  *count = static_cast<int>(std::max(0LL, devices));
  return devices < 0 ? cudaErrorInsufficientDriver : devices == 0 ? cudaErrorNoDevice : cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
  int count = 0;
  if (const cudaError_t error = cudaGetDeviceCount(&count); error != cudaSuccess) return error;
  if (device < 0 || device >= count) return cudaErrorInvalidDevice;
  current_device = device;
  return cudaSuccess;
}

cudaError_t cudaGetDevice(int* device) {
  *device = current_device;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  *properties = cudaDeviceProp{};
  std::snprintf(properties->name, sizeof(properties->name), "emulation on the host");
  properties->totalGlobalMem = device_memory();
  properties->major = 8;
  properties->multiProcessorCount = 1;
  return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int* version) {
  *version = number_of("SO3MD_EMULATION_DEVICES", 1) < 0 ? 11000 : 13000;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  *total = device_memory();
  *free = *total - std::min(*total, bytes_in_use.load());
  return cudaSuccess;
}

cudaError_t cudaMalloc(void** memory, std::size_t bytes) {
  *memory = nullptr;
  if (spoils_recording()) return cudaErrorStreamCaptureUnsupported;
  if (bytes > device_memory() - std::min(device_memory(), bytes_in_use.load())) return cudaErrorMemoryAllocation;
  // The size lies at the beginning of the first guard zone's own room.
  auto* room = static_cast<unsigned char*>(std::aligned_alloc(kGuard, (bytes + 4 * kGuard - 1) / kGuard * kGuard));
  if (room == nullptr) return cudaErrorMemoryAllocation;
  std::memcpy(room, &bytes, sizeof(bytes));
  std::memset(room + kGuard, kGuardByte, kGuard);
  std::memset(room + 2 * kGuard, 0xff, bytes);
  std::memset(room + 2 * kGuard + bytes, kGuardByte, kGuard);
  bytes_in_use += bytes;
  *memory = room + 2 * kGuard;
  return cudaSuccess;
}

cudaError_t cudaFree(void* memory) {
  if (memory == nullptr) return cudaSuccess;
  if (spoils_recording()) return cudaErrorStreamCaptureUnsupported;
  auto* data = static_cast<unsigned char*>(memory);
  std::size_t bytes = 0;
  std::memcpy(&bytes, data - 2 * kGuard, sizeof(bytes));
  check_guard(data - kGuard, "before");
  check_guard(data + bytes, "behind");
  bytes_in_use -= bytes;
  std::free(data - 2 * kGuard);
  return cudaSuccess;
}

cudaError_t cudaMallocHost(void** memory, std::size_t bytes) {
  if (spoils_recording()) return cudaErrorStreamCaptureUnsupported;
  *memory = std::malloc(std::max<std::size_t>(bytes, 1));
  if (*memory == nullptr) return cudaErrorMemoryAllocation;
  const std::lock_guard lock(pinned_mutex);
  pinned()[static_cast<const unsigned char*>(*memory)] = bytes;
  return cudaSuccess;
}

cudaError_t cudaFreeHost(void* memory) {
  if (spoils_recording()) return cudaErrorStreamCaptureUnsupported;
  const std::lock_guard lock(pinned_mutex);
  pinned().erase(static_cast<const unsigned char*>(memory));
  std::free(memory);
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  if (bytes == 0) return cudaSuccess;
  const void* host = kind == cudaMemcpyHostToDevice ? from : kind == cudaMemcpyDeviceToHost ? to : nullptr;
  if (host != nullptr && !is_pinned(host, bytes)) {
    // A GPU would read or write the memory whenever the graph runs, when it may be gone; and to copy there, the host waits.
    if (stream == recording && spoils_recording()) return cudaErrorStreamCaptureUnsupported;
    if (kind == cudaMemcpyDeviceToHost) ++waits;
  }
  return give(stream, [=] { std::memmove(to, from, bytes); });
}

cudaError_t cudaMemsetAsync(void* to, int value, std::size_t bytes, cudaStream_t stream) {
  if (bytes == 0) return cudaSuccess;
  return give(stream, [=] { std::memset(to, value, bytes); });
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = new EmulatedStream;
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t) {
  if (spoils_recording()) return cudaErrorStreamCaptureUnsupported;
  ++waits;
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  if (spoils_recording()) return cudaErrorStreamCaptureUnsupported;
  recording = stream;
  *stream = {};
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  *graph = nullptr;
  if (stream != recording) return cudaErrorInvalidValue;
  recording = nullptr;
  EmulatedGraph recorded = std::move(stream->recorded);
  stream->recorded = {};
  if (stream->spoilt) return cudaErrorStreamCaptureInvalidated;
  *graph = new EmulatedGraph(std::move(recorded));
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  *exec = new EmulatedGraph(*graph);
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  if (stream == recording && spoils_recording()) return cudaErrorStreamCaptureUnsupported;
  for (const auto& work : exec->work) work();
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  delete exec;
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new EmulatedEvent{};
  return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t) {
  event->time = std::chrono::steady_clock::now();
  return cudaSuccess;
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end) {
  *milliseconds = std::chrono::duration<float, std::milli>(end->time - begin->time).count();
  return cudaSuccess;
}

namespace so3md::emulation {

void run_kernel(cudaStream_t stream, dim3 grid, dim3 block, std::size_t dynamic_shared_bytes, std::function<void()> body) {
  give(stream, [=, body = std::move(body)] { run_grid(grid, block, dynamic_shared_bytes, body); });
}

}  // namespace so3md::emulation

/// For the tests, which open the library by itself: how often this thread of the host has waited for a device.
extern "C" __attribute__((visibility("default"))) long long so3md_emulation_waits() { return waits; }
