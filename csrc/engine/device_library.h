// The library of its own in which the GPU kernels are: it is opened when a GPU is asked for, so that one package serves machines with and
// without.
#pragma once

#include <memory>

#include "evaluation/engine.h"

namespace so3md {

/// Number of devices of this kind. Throws std::runtime_error where there is none, or no library for it, saying what to do.
int count_devices(DeviceKind kind);

/// Takes about a second. Throws std::runtime_error as count_devices(), and std::invalid_argument for the CPU.
DeviceSpeed measure_speed(const Device& device);

/// Throws std::runtime_error with a finished message where the device cannot be used, and std::invalid_argument for a model that it cannot
/// evaluate.
std::unique_ptr<Engine> create_device_engine(std::shared_ptr<const Model> model, const EngineOptions& options, ThreadPool& pool);

}  // namespace so3md
