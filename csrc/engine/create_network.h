// Which network a model has.
#pragma once

#include <memory>

#include "evaluation/engine.h"
#include "network/any_network.h"

namespace so3md {

/// The network of the model's architecture. `model` must live longer.
template <class Real>
std::unique_ptr<AnyNetwork<Real>> create_network(const Model& model, const EngineOptions& options, ThreadPool& pool);

}  // namespace so3md
