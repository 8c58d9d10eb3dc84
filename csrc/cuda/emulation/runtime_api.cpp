#include "cuda/emulation/runtime_api.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>

struct EmulatedStream {};
struct EmulatedEvent {
  std::chrono::steady_clock::time_point time;
};

namespace {

constexpr std::size_t kGuard = 256;  // bytes on either side; keeps the alignment that cudaMalloc promises
constexpr unsigned char kGuardByte = 0xa5;
std::atomic<std::size_t> bytes_in_use{0};
thread_local int current_device = 0;

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
  *memory = std::malloc(std::max<std::size_t>(bytes, 1));
  return *memory == nullptr ? cudaErrorMemoryAllocation : cudaSuccess;
}

cudaError_t cudaFreeHost(void* memory) {
  std::free(memory);
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind, cudaStream_t) {
  if (bytes > 0) std::memmove(to, from, bytes);
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* to, int value, std::size_t bytes, cudaStream_t) {
  if (bytes > 0) std::memset(to, value, bytes);
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = new EmulatedStream;
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned) { return cudaSuccess; }

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

cudaError_t cudaEventSynchronize(cudaEvent_t) { return cudaSuccess; }

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end) {
  *milliseconds = std::chrono::duration<float, std::milli>(end->time - begin->time).count();
  return cudaSuccess;
}
