// What an engine computes on, and the library of its own in which the GPU kernels are: it is opened when a GPU is asked for, so that one
// package serves machines with and without.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

namespace so3md {

class Engine;
class ThreadPool;
struct EngineOptions;
struct Model;

enum class DeviceKind {
  cpu,
  cuda,
  cuda_emulation  ///< the GPU's kernels run by the processor, one thread after the other: for tests of so3md, and very slow
};

struct Device {
  DeviceKind kind = DeviceKind::cpu;
  int index = 0;  ///< which GPU, from 0
  bool operator==(const Device&) const = default;
};

/// "cpu", "cuda", "cuda:1", "cuda-emulation". Throws std::invalid_argument for another name.
Device parse_device(const std::string& name);

/// The name that parse_device() understands.
std::string device_name(const Device& device);

/// Number of devices of this kind. Throws std::runtime_error where there is none, or no library for it, saying what to do.
int count_devices(DeviceKind kind);

/// Bytes of arrays on a device, of all engines of the process together.
struct DeviceMemory {
  std::size_t now = 0, peak = 0;
};

/// What a device was given to do.
struct DeviceWork {
  int kernels = 0;      ///< that ran
  int copies = 0;       ///< and fills
  int waits = 0;        ///< of the host for the device
  bool replay = false;  ///< of a recorded graph
};

/// What a device does at best, as measured now: the floor of any calculation on it.
struct DeviceSpeed {
  double operations_per_second = 0.0;         ///< of multiply-adds in float, each two operations
  double double_operations_per_second = 0.0;  ///< likewise in double
  double bytes_per_second = 0.0;              ///< read and written by a copy in its memory
};

/// Takes about a second. Throws std::runtime_error as count_devices(), and std::invalid_argument for the CPU.
DeviceSpeed measure_speed(const Device& device);

/// Throws std::runtime_error with a finished message where the device cannot be used, and std::invalid_argument for a model that it cannot
/// evaluate.
std::unique_ptr<Engine> create_device_engine(std::shared_ptr<const Model> model, const EngineOptions& options, ThreadPool& pool);

}  // namespace so3md
