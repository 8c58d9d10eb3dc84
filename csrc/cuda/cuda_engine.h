// One evaluation of a model on a GPU, from start to end: the only file there that knows the order of the stages.
#pragma once

#include <memory>

#include "evaluation/engine.h"

namespace so3md::cuda {

/// As Interface::create_engine.
Engine* create_engine(std::shared_ptr<const Model> model, const EngineOptions& options, ThreadPool& pool);

}  // namespace so3md::cuda
