// The network of the architecture so3krates-2022: the original paper, with attention in the space of chi.
#pragma once

#include <memory>
#include <vector>

#include "networks.h"
#include "paper2022/kernels.h"
#include "paper2022/nonlocal.h"

namespace so3md::paper2022 {

/// Every owned atom goes through its own list, and in the adjoint takes what lands on it from both directions of each pair.
template <class Real>
class Network final : public AnyNetwork<Real> {
 public:
  /// Networks may share their parameters, also in several threads.
  Network(std::shared_ptr<const Parameters<Real>> parameters, bool skip_nonlocal, ThreadPool& pool);

  Edges<Real>& edges() override { return edges_; }
  void forward(const Domain& domain, const int* species, const Composition& composition, const Systems& systems, HaloExchange& halo,
               Readouts& out, Stopwatch& watch, std::vector<LayerFeatures>* features) override;
  void adjoint(const Readouts& gradients, HaloExchange& halo, double* forces, double* virial, Stopwatch& watch) override;
  std::unique_ptr<AnyNetwork<Real>> create_sibling(ThreadPool& pool) const override {
    return std::make_unique<Network>(parameters_, skip_nonlocal_, pool);
  }
  const char* instruction_set() const override { return so3md::kernels<Real>().instruction_set; }
  bool tabulated() const override { return false; }  // radial filters from their networks in both precisions
  const TableError& table_error() const override { return parameters_->table_error; }
  NonlocalPairs nonlocal_pairs() const override;

 private:
  bool nonlocal() const { return parameters_->model().hyper.nonlocal_attention != NonlocalAttention::none; }
  void allocate(int owned, int slots);
  void embed(const int* species, const Composition& composition);
  void initial_coordinates(HaloExchange& halo);
  LayerStep<Real> step(int layer);
  InitialStep<Real> initial_step();
  NonlocalStep<Real> nonlocal_step(const LayerStep<Real>& layer);
  void project(const LayerStep<Real>& step);
  void normalise(int layer, NonlocalStep<Real>& step);
  void nonlocal_adjoint(LayerStep<Real>& step, HaloExchange& halo);
  void record(int layer, LayerFeatures& out) const;
  template <class Kernel, class Step>
  void run(Kernel kernel, const Step& step, int count, int grain);

  std::shared_ptr<const Parameters<Real>> parameters_;
  const KernelTable<Real>& kernels_;
  bool skip_nonlocal_;
  ThreadPool& pool_;
  HarmonicsTable<Real> harmonics_;
  Edges<Real> edges_;
  NonlocalAtoms<Real> atoms_;

  int owned_ = 0, slots_ = 0;
  std::vector<AlignedVector<Real>> x_, chi_, x_attended_, chi_attended_;  // by layer
  std::vector<std::vector<double>> radius_;                               // by layer, of slots
  AlignedVector<Real> weight_, projection_, sum_features_, sum_chi_;
  AlignedVector<Real> gradient_x_, gradient_chi_, gradient_attended_, gradient_chi_attended_, gradient_projection_;
  std::vector<double> log_sum_, gradient_softmax_;
  std::vector<std::int64_t> measured_, evaluated_;  // of owned atoms
  std::int64_t searches_ = 0;
  std::vector<AlignedVector<Real>> scratch_;  // by thread
};

}  // namespace so3md::paper2022
