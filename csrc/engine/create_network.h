// Which network a model has.
#pragma once

#include <memory>

#include "network/any_network.h"
#include "network/parameters.h"

namespace so3md {

/// The network of the model's architecture. `model` must live longer. `skip_nonlocal`: do not evaluate filters of pairs that bounds in the
/// space of chi show to have no weight.
template <class Real>
std::unique_ptr<AnyNetwork<Real>> create_network(const Model& model, RadialTables tables, bool skip_nonlocal, ThreadPool& pool);

}  // namespace so3md
