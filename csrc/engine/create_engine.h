// Which engine does what the options ask for.
#pragma once

#include <memory>

#include "evaluation/engine.h"

namespace so3md {

/// Threads come from `pool`, which must live longer. Throws std::runtime_error with a finished message where the device cannot be used, and
/// std::invalid_argument for a model that it cannot evaluate.
std::unique_ptr<Engine> create_engine(std::shared_ptr<const Model> model, const EngineOptions& options, ThreadPool& pool);

}  // namespace so3md
