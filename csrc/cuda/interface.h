// What the library of the GPU kernels shows to the program that opens it (csrc/engine/device_library.cpp). Both must come from the same
// build: classes cross the border, so the version holds a hash of their headers.
#pragma once

#include <memory>

#include "evaluation/engine.h"

namespace so3md::cuda {

struct Interface {
  const char* version;
  int (*count_devices)();  ///< throws std::runtime_error
  DeviceSpeed (*measure_speed)(int device);
  /// The caller owns the engine. Throws std::runtime_error and std::invalid_argument, with finished messages.
  Engine* (*create_engine)(std::shared_ptr<const Model> model, const EngineOptions& options, ThreadPool& pool);
};

using GetInterface = const Interface* (*)();
inline constexpr const char* kInterfaceSymbol = "so3md_device_interface";

}  // namespace so3md::cuda
