#include "networks.h"

#include <utility>

#include "paper2022/network.h"

namespace so3md {

namespace {

/// The architecture so3krates.
template <class Real>
class LocalNetwork final : public AnyNetwork<Real> {
 public:
  LocalNetwork(std::shared_ptr<const Parameters<Real>> parameters, ThreadPool& pool) : network_(std::move(parameters), pool) {}

  Edges<Real>& edges() override { return network_.edges(); }

  void forward(const Domain& domain, const int* species, const Composition& composition, const Systems&, HaloExchange& halo, Readouts& out,
               Stopwatch& watch, std::vector<LayerFeatures>* features) override {
    network_.forward(domain, species, composition, halo, out, watch, features);
  }

  void adjoint(const Readouts& gradients, HaloExchange& halo, double* forces, double* virial, Stopwatch& watch) override {
    network_.adjoint(gradients, halo, forces, virial, watch);
  }

  std::unique_ptr<AnyNetwork<Real>> create_sibling(ThreadPool& pool) const override {
    return std::make_unique<LocalNetwork>(network_.shared_parameters(), pool);
  }

  const char* instruction_set() const override { return network_.instruction_set(); }
  bool tabulated() const override { return network_.parameters().tabulated; }
  const TableError& table_error() const override { return network_.parameters().table_error; }

 private:
  Network<Real> network_;
};

}  // namespace

template <class Real>
std::unique_ptr<AnyNetwork<Real>> create_network(const Model& model, RadialTables tables, bool skip_nonlocal, ThreadPool& pool) {
  if (model.hyper.architecture == Architecture::so3krates_2022)
    return std::make_unique<paper2022::Network<Real>>(std::make_shared<paper2022::Parameters<Real>>(model, tables != RadialTables::none),
                                                      skip_nonlocal, pool);
  return std::make_unique<LocalNetwork<Real>>(std::make_shared<Parameters<Real>>(model, tables), pool);
}

template std::unique_ptr<AnyNetwork<float>> create_network(const Model&, RadialTables, bool, ThreadPool&);
template std::unique_ptr<AnyNetwork<double>> create_network(const Model&, RadialTables, bool, ThreadPool&);

}  // namespace so3md
