#include "engine/create_network.h"

#include "network/network.h"
#include "paper2022/network.h"

namespace so3md {

template <class Real>
std::unique_ptr<AnyNetwork<Real>> create_network(const Model& model, const EngineOptions& options, ThreadPool& pool) {
  const RadialTables tables = options.radial_tables();
  if (model.hyper.architecture == Architecture::so3krates_2022)
    return std::make_unique<paper2022::Network<Real>>(std::make_shared<paper2022::Parameters<Real>>(model, tables), options.skip_nonlocal,
                                                      pool);
  return std::make_unique<Network<Real>>(std::make_shared<Parameters<Real>>(model, tables), options.keep_filters, pool);
}

template std::unique_ptr<AnyNetwork<float>> create_network(const Model&, const EngineOptions&, ThreadPool&);
template std::unique_ptr<AnyNetwork<double>> create_network(const Model&, const EngineOptions&, ThreadPool&);

}  // namespace so3md
