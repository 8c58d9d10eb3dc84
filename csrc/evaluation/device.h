// What an engine computes on.
#pragma once

#include <cstddef>
#include <string>

namespace so3md {

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

}  // namespace so3md
