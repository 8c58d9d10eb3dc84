// The network of the architecture so3krates-2022: the original paper, with attention in the space of chi.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "network/layer_order.h"
#include "paper2022/kernels.h"
#include "paper2022/nonlocal.h"
#include "paper2022/species_products.h"

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
  bool tabulated() const override { return parameters_->tabulated; }
  const TableError& table_error() const override { return parameters_->table_error; }
  NonlocalPairs nonlocal_pairs() const override;

 private:
  friend struct so3md::LayerOrder;

  // The steps of a layer, as LayerOrder calls them: all atoms wait for what other processes send.
  int num_layers() const { return static_cast<int>(parameters_->layers.size()); }
  static bool is_by_species(int) { return false; }
  static bool has_initial_coordinates() { return true; }
  void initial_forward() { run(kernels_.initial_forward, initial_step(), owned_, kAtomsPerTask); }
  std::array<Rows<Real>, 2> initial_rows();
  LayerStep<Real> step(int layer);
  void project_own(int, const LayerStep<Real>&) {}
  void project_received(int, const LayerStep<Real>& step) { project(step); }
  void attend_interior(const LayerStep<Real>&) {}
  void attend_boundary(int layer, const LayerStep<Real>& step, HaloExchange& halo, Stopwatch& watch);
  void node_forward(const LayerStep<Real>& step) { run(kernels_.node_forward, step, owned_, kAtomsPerTask); }
  void record(int layer, LayerFeatures& out) const;
  std::array<Rows<Real>, 2> forward_rows(const LayerStep<Real>& step) const;
  LayerStep<Real> adjoint_step(int layer);
  void node_adjoint(const LayerStep<Real>& step);
  std::array<Rows<Real>, 2> adjoint_rows(const LayerStep<Real>& step) const;
  void project_again(const LayerStep<Real>&) {}  // node_adjoint() has done it
  void attend_interior_adjoint(const LayerStep<Real>&) {}
  void attend_boundary_adjoint(int layer, LayerStep<Real>& step, HaloExchange& halo, Stopwatch& watch);
  void project_adjoint(const LayerStep<Real>& step) {
    if (!is_first(step)) run(kernels_.project_adjoint, step, owned_, kAtomsPerTask);
  }
  std::array<Rows<Real>, 1> initial_adjoint_rows();
  void initial_adjoint();

  bool nonlocal() const { return parameters_->model().hyper.nonlocal_attention != NonlocalAttention::none; }
  /// The species alone decide what a first layer starts from, so that nobody asks for gradients of that.
  bool is_first(const LayerStep<Real>& step) const { return step.parameters == parameters_->layers.data(); }
  void allocate(int owned, int slots);
  void embed(const int* species, const Matrix& features);
  InitialStep<Real> initial_step();
  NonlocalStep<Real> nonlocal_step(const LayerStep<Real>& layer);
  void project(const LayerStep<Real>& step);
  void fill_atoms(const LayerStep<Real>& step, HaloExchange& halo);
  void normalise(int layer, NonlocalStep<Real>& step);
  void nonlocal_forward(const LayerStep<Real>& step);
  void nonlocal_adjoint(LayerStep<Real>& step, HaloExchange& halo);
  template <class Kernel, class Step>
  void run(Kernel kernel, const Step& step, int count, int grain);
  template <class Kernel, class Add>
  void run_rounds(Kernel kernel, NonlocalStep<Real> step, const NonlocalSums& at, const Add& add);

  std::shared_ptr<const Parameters<Real>> parameters_;
  const KernelTable<Real>& kernels_;
  bool skip_nonlocal_;
  ThreadPool& pool_;
  HarmonicsTable<Real> harmonics_;
  Edges<Real> edges_;
  NonlocalAtoms<Real> atoms_;
  SpeciesProducts<Real> species_products_;

  static constexpr int kAtomsPerTask = kNodeBlock;

  int owned_ = 0, slots_ = 0;
  double *forces_ = nullptr, *virial_ = nullptr;                          // of the adjoint under way
  std::vector<AlignedVector<Real>> x_, chi_, x_attended_, chi_attended_;  // by layer
  std::vector<std::vector<double>> radius_;                               // by layer, of slots
  AlignedVector<Real> weight_, projection_, sum_features_, sum_chi_;
  AlignedVector<Real> gradient_x_, gradient_chi_, gradient_attended_, gradient_chi_attended_, gradient_projection_;
  std::vector<double> log_sum_, gradient_softmax_;
  std::vector<double> pair_sums_;                   // of all places
  std::vector<ChiBlockPair> block_pairs_;           // of a round
  std::vector<std::int64_t> measured_, evaluated_;  // of places
  std::int64_t searches_ = 0;
  std::vector<AlignedVector<Real>> scratch_;  // by thread
};

}  // namespace so3md::paper2022
