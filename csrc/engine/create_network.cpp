#include "engine/create_network.h"

#include "network/network.h"
#include "paper2022/network.h"

namespace so3md {

template <class Real>
std::unique_ptr<AnyNetwork<Real>> create_network(const Model& model, RadialTables tables, bool skip_nonlocal, ThreadPool& pool) {
  if (model.hyper.architecture == Architecture::so3krates_2022)
    return std::make_unique<paper2022::Network<Real>>(std::make_shared<paper2022::Parameters<Real>>(model, tables), skip_nonlocal, pool);
  return std::make_unique<Network<Real>>(std::make_shared<Parameters<Real>>(model, tables), pool);
}

template std::unique_ptr<AnyNetwork<float>> create_network(const Model&, RadialTables, bool, ThreadPool&);
template std::unique_ptr<AnyNetwork<double>> create_network(const Model&, RadialTables, bool, ThreadPool&);

}  // namespace so3md
