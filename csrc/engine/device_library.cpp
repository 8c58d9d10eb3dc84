#include "engine/device_library.h"

#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <mutex>
#include <stdexcept>
#include <vector>

#include "cuda/interface.h"
#include "engine/interface_version.h"

namespace so3md {

namespace {

constexpr const char* kDirectoryVariable = "SO3MD_DEVICE_LIBRARIES";

bool is_file(const std::string& path) { return access(path.c_str(), R_OK) == 0; }

std::string folder_of(const std::string& path) { return path.substr(0, path.rfind('/')); }

// Beside the library that holds this code; for the LAMMPS plugin and the C library of the Python package, one folder up; for the C library
// of an installed tree, in a folder so3md beside it.
std::vector<std::string> folders() {
  if (const char* given = std::getenv(kDirectoryVariable); given != nullptr && *given != '\0') return {given};
  static const int here = 0;
  Dl_info info;
  if (dladdr(&here, &info) == 0 || info.dli_fname == nullptr) return {};
  char* resolved = realpath(info.dli_fname, nullptr);
  const std::string folder = folder_of(resolved == nullptr ? info.dli_fname : resolved);
  std::free(resolved);
  // In a checkout that was installed for development, the name as it was opened may lie elsewhere than the file.
  std::vector<std::string> all;
  for (const std::string& each : {folder, folder_of(info.dli_fname), folder_of(folder), folder_of(folder_of(info.dli_fname))})
    if (std::find(all.begin(), all.end(), each) == all.end()) all.push_back(each);
  if (const std::string own = folder + "/so3md"; access(own.c_str(), X_OK) == 0) all.push_back(own);
  return all;
}

std::string find_library(DeviceKind kind) {
  const bool emulated = kind == DeviceKind::cuda_emulation;
  const std::string name = emulated ? "so3md_cuda_emulation.so" : "so3md_cuda.so";
  std::string searched;
  for (const std::string& folder : folders()) {
    if (is_file(folder + "/" + name)) return folder + "/" + name;
    searched += (searched.empty() ? "" : " or ") + folder;
  }
  const std::string reason = emulated ? "without the emulation (SO3MD_CUDA_EMULATION=OFF)" : "without the library of the GPU kernels";
  throw std::runtime_error(
      "device '" + device_name({kind, 0}) + "': this so3md was built " + reason + "; there is no " + name + " in " + searched + ". " +
      (emulated ? "Build it with CMAKE_ARGS=-DSO3MD_CUDA_EMULATION=ON"
                : "To build it, in a checkout of so3md and with nvcc 12.0 or later (CUDA toolkit): SO3MD_CUDA=ON pip install .") +
      ", or use device 'cpu'.");
}

const cuda::Interface* open_library(DeviceKind kind) {
  const std::string path = find_library(kind);
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) throw std::runtime_error("the library of the GPU kernels could not be opened: " + std::string(dlerror()));
  const auto get = reinterpret_cast<cuda::GetInterface>(dlsym(library, cuda::kInterfaceSymbol));
  const cuda::Interface* found = get == nullptr ? nullptr : get();
  const std::string version = found == nullptr ? "none" : found->version;
  if (version != interface_version())
    throw std::runtime_error("the library of the GPU kernels, " + path + ", belongs to another build of so3md: its version is " + version +
                             ", expected " + interface_version() + "; install so3md again as a whole");
  return found;
}

// Opened once, and never closed: exceptions and engines made there may live for as long as the program.
const cuda::Interface& library_of(DeviceKind kind) {
  static std::mutex mutex;
  static std::map<DeviceKind, const cuda::Interface*> opened;
  const std::lock_guard lock(mutex);
  const cuda::Interface*& library = opened[kind];
  if (library == nullptr) library = open_library(kind);
  return *library;
}

}  // namespace

int count_devices(DeviceKind kind) { return kind == DeviceKind::cpu ? 1 : library_of(kind).count_devices(); }

DeviceSpeed measure_speed(const Device& device) {
  if (device.kind == DeviceKind::cpu) throw std::invalid_argument("the speed of a device: expected cuda or cuda:N, found cpu");
  return library_of(device.kind).measure_speed(device.index);
}

std::unique_ptr<Engine> create_device_engine(std::shared_ptr<const Model> model, const EngineOptions& options, ThreadPool& pool) {
  return std::unique_ptr<Engine>(library_of(options.device.kind).create_engine(std::move(model), options, pool));
}

}  // namespace so3md
