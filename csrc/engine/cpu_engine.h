// The engine on the processor: one evaluation from start to end.
#pragma once

#include <memory>

#include "evaluation/engine.h"

namespace so3md {

/// Whatever the device of the options. As create_engine() for all else.
std::unique_ptr<Engine> create_cpu_engine(std::shared_ptr<const Model> model, const EngineOptions& options, ThreadPool& pool);

}  // namespace so3md
