#include "cuda/platform.h"

namespace so3md::cuda {

namespace {

std::string version_text(int version) { return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10); }

std::string advice(cudaError_t status) {
  int driver = 0, runtime = 0;
  switch (status) {
    case cudaErrorInsufficientDriver:
      (void)cudaDriverGetVersion(&driver);
      (void)cudaRuntimeGetVersion(&runtime);
      if (driver == 0) return "there is no NVIDIA driver on this machine: install one, or use device='cpu'";
      return "the NVIDIA driver supports CUDA " + version_text(driver) + ", but this build of so3md needs CUDA " + version_text(runtime) +
             ": update the driver, build so3md with an older CUDA toolkit, or use device='cpu'";
    case cudaErrorNoDevice:
      return "the NVIDIA driver sees no GPU: check nvidia-smi and CUDA_VISIBLE_DEVICES, or use device='cpu'";
    case cudaErrorMemoryAllocation:
      return "the GPU has no memory left: use a smaller system, precision 'mixed', a GPU with more memory, several GPUs (MPI), or "
             "device='cpu'";
    default:
      return std::string("CUDA says: ") + cudaGetErrorString(status);
  }
}

}  // namespace

void check(cudaError_t status, const char* doing) {
  if (status == cudaSuccess) return;
  (void)cudaGetLastError();  // so that the next call does not report it again
  throw DeviceError(std::string(doing) + " on the GPU failed: " + advice(status));
}

int count_devices() {
  int count = 0;
  check(cudaGetDeviceCount(&count), "looking for devices");
  return count;
}

void use_device(int device) {
  const int count = count_devices();
  if (device < 0 || device >= count)
    throw DeviceError("there is no GPU number " + std::to_string(device) + ": this machine has " + std::to_string(count) +
                      ", counted from 0 (CUDA_VISIBLE_DEVICES chooses among them)");
  check(cudaSetDevice(device), "choosing a device");
}

namespace {

cudaDeviceProp properties() {
  int device = 0;
  cudaDeviceProp found;
  check(cudaGetDevice(&device), "asking for the device");
  check(cudaGetDeviceProperties(&found, device), "asking for the properties of the device");
  return found;
}

}  // namespace

std::string device_name() { return properties().name; }
int count_multiprocessors() { return properties().multiProcessorCount; }

std::size_t free_memory() {
  std::size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "asking for free memory");
  return free;
}

Stream::Stream() { check(cudaStreamCreateWithFlags(&handle_, cudaStreamNonBlocking), "making a stream"); }
Stream::~Stream() { (void)cudaStreamDestroy(handle_); }
void Stream::synchronize() const { check(cudaStreamSynchronize(handle_), "running kernels"); }

Event::Event() { check(cudaEventCreateWithFlags(&handle_, cudaEventDefault), "making an event"); }
Event::~Event() {
  if (handle_ != nullptr) (void)cudaEventDestroy(handle_);
}
void Event::record(const Stream& stream) { check(cudaEventRecord(handle_, stream.handle()), "recording an event"); }
void Event::synchronize() const { check(cudaEventSynchronize(handle_), "running kernels"); }

double Event::seconds_since(const Event& begin) const {
  float milliseconds = 0.0f;
  check(cudaEventElapsedTime(&milliseconds, begin.handle_, handle_), "reading the clock");
  return 1e-3 * static_cast<double>(milliseconds);
}

void set_bytes(void* to, int value, std::size_t bytes, const Stream& stream) {
  if (bytes > 0) check(cudaMemsetAsync(to, value, bytes, stream.handle()), "filling memory");
}

void copy_to_device(void* to, const void* from, std::size_t bytes, const Stream& stream) {
  if (bytes > 0) check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream.handle()), "copying from the host");
}

void copy_to_host(void* to, const void* from, std::size_t bytes, const Stream& stream) {
  if (bytes > 0) check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream.handle()), "copying to the host");
}

void copy_on_device(void* to, const void* from, std::size_t bytes, const Stream& stream) {
  if (bytes > 0) check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream.handle()), "copying");
}

}  // namespace so3md::cuda
