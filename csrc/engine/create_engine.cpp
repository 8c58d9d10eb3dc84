#include "engine/create_engine.h"

#include <stdexcept>
#include <utility>

#include "engine/cpu_engine.h"
#include "engine/device_library.h"

namespace so3md {

std::unique_ptr<Engine> create_engine(std::shared_ptr<const Model> model, const EngineOptions& options, ThreadPool& pool) {
  if (options.coulomb == Coulomb::ewald && !model->hyper.electrostatics)
    throw std::invalid_argument("coulomb 'ewald': this model has no electrostatics; use coulomb 'cutoff'");
  if (options.dispersion_tail && !model->hyper.dispersion)
    throw std::invalid_argument("dispersion_tail: this model has no dispersion; leave it out");
  if (!options.electric_field.is_zero() && !model->hyper.charge_head)
    throw std::invalid_argument("electric_field: this model predicts no charges; leave it out, or use a model that does, such as so3lr");
  if (options.device.kind == DeviceKind::cpu) return create_cpu_engine(std::move(model), options, pool);
  return create_device_engine(std::move(model), options, pool);
}

}  // namespace so3md
