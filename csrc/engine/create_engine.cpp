#include "engine/create_engine.h"

#include <utility>

#include "engine/cpu_engine.h"
#include "engine/device_library.h"

namespace so3md {

std::unique_ptr<Engine> create_engine(std::shared_ptr<const Model> model, const EngineOptions& options, ThreadPool& pool) {
  if (options.device.kind == DeviceKind::cpu) return create_cpu_engine(std::move(model), options, pool);
  return create_device_engine(std::move(model), options, pool);
}

}  // namespace so3md
