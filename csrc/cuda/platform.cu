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
void Stream::synchronize() const {
  ++work_.waits;
  check(cudaStreamSynchronize(handle_), "running kernels");
}

void Graph::begin(const Stream& stream) {
  check(cudaStreamBeginCapture(stream.handle(), cudaStreamCaptureModeThreadLocal), "recording a graph");
}

void Graph::abandon(const Stream& stream) {
  cudaGraph_t graph = nullptr;
  (void)cudaStreamEndCapture(stream.handle(), &graph);
  if (graph != nullptr) (void)cudaGraphDestroy(graph);
  (void)cudaGetLastError();
}

void Graph::end(const Stream& stream) {
  cudaGraph_t graph = nullptr;
  check(cudaStreamEndCapture(stream.handle(), &graph), "recording a graph");
  const cudaError_t status = cudaGraphInstantiate(&handle_, graph, 0);
  (void)cudaGraphDestroy(graph);
  if (status != cudaSuccess) handle_ = nullptr;
  check(status, "making a graph");
}

void Graph::run(const Stream& stream) const { check(cudaGraphLaunch(handle_, stream.handle()), "starting a graph"); }

void Graph::clear() {
  if (handle_ != nullptr) (void)cudaGraphExecDestroy(handle_);
  handle_ = nullptr;
}

Event::Event() { check(cudaEventCreateWithFlags(&handle_, cudaEventDefault), "making an event"); }
Event::~Event() {
  if (handle_ != nullptr) (void)cudaEventDestroy(handle_);
}
void Event::record(const Stream& stream) { check(cudaEventRecord(handle_, stream.handle()), "recording an event"); }

double Event::seconds_since(const Event& begin) const {
  float milliseconds = 0.0f;
  check(cudaEventElapsedTime(&milliseconds, begin.handle_, handle_), "reading the clock");
  return 1e-3 * static_cast<double>(milliseconds);
}

void set_bytes(void* to, int value, std::size_t bytes, const Stream& stream) {
  if (bytes == 0) return;
  ++stream.work().copies;
  check(cudaMemsetAsync(to, value, bytes, stream.handle()), "filling memory");
}

namespace {

void copy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, const char* doing, const Stream& stream) {
  if (bytes == 0) return;
  ++stream.work().copies;
  check(cudaMemcpyAsync(to, from, bytes, kind, stream.handle()), doing);
}

}  // namespace

void copy_to_device(void* to, const void* from, std::size_t bytes, const Stream& stream) {
  copy(to, from, bytes, cudaMemcpyHostToDevice, "copying from the host", stream);
}

void copy_to_host(void* to, const void* from, std::size_t bytes, const Stream& stream) {
  copy(to, from, bytes, cudaMemcpyDeviceToHost, "copying to the host", stream);
}

void copy_on_device(void* to, const void* from, std::size_t bytes, const Stream& stream) {
  copy(to, from, bytes, cudaMemcpyDeviceToDevice, "copying", stream);
}

}  // namespace so3md::cuda
