// The message-passing network: from a domain to atomic energies, charges and Hirshfeld ratios, and gradients back to forces.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <vector>

#include "common/aligned.h"
#include "common/stopwatch.h"
#include "common/thread_pool.h"
#include "geometry/domain.h"
#include "halo/halo_exchange.h"
#include "network/any_network.h"
#include "network/first_layer.h"
#include "network/kernels.h"

namespace so3md {

template <class Real>
class Network final : public AnyNetwork<Real> {
 public:
  /// With tabulated parameters, the first layer has tables of its own, too; else everything is done as the equations stand. Networks may
  /// share their parameters, also in several threads.
  /// `keep_filters`: for the adjoint, see EngineOptions.
  Network(std::shared_ptr<const Parameters<Real>> parameters, std::optional<bool> keep_filters, ThreadPool& pool);

  Edges<Real>& edges() override { return edges_; }
  void forward(const Domain& domain, const int* species, const Composition& composition, const Systems& systems, HaloExchange& halo,
               Readouts& out, Stopwatch& watch, std::vector<LayerFeatures>* features) override;
  void adjoint(const Readouts& gradients, HaloExchange& halo, double* forces, double* virial, Stopwatch& watch) override;
  std::unique_ptr<AnyNetwork<Real>> create_sibling(ThreadPool& pool) const override {
    return std::make_unique<Network>(parameters_, keep_filters_, pool);
  }
  const char* instruction_set() const override { return kernels_.instruction_set; }
  bool tabulated() const override { return parameters_->tabulated; }
  const TableError& table_error() const override { return parameters_->table_error; }

 private:
  friend struct LayerOrder;

  // The steps of a layer, as LayerOrder calls them.
  int num_layers() const { return static_cast<int>(parameters_->layers.size()); }
  bool is_by_species(int layer) const { return layer == 0 && parameters_->first_layer_by_species; }
  bool has_initial_coordinates() const { return parameters_->layout.initial_scale != 0.0; }
  void initial_forward();
  std::array<Rows<Real>, 1> initial_rows();
  LayerStep<Real> step(int layer);
  void project_own(int layer, const LayerStep<Real>& step) { project(layer, step, 0, owned_); }
  void project_received(int layer, const LayerStep<Real>& step) { project(layer, step, owned_, slots_); }
  void attend_interior(const LayerStep<Real>& step) { attend(step, true, true); }
  void attend_boundary(int layer, const LayerStep<Real>& step, HaloExchange& halo, Stopwatch& watch);
  void node_forward(const LayerStep<Real>& step);
  void record(int layer, LayerFeatures& out) const;
  std::array<Rows<Real>, 2> forward_rows(const LayerStep<Real>& step) const;
  LayerStep<Real> adjoint_step(int layer);
  void node_adjoint(const LayerStep<Real>& step);
  std::array<Rows<Real>, 2> adjoint_rows(const LayerStep<Real>& step) const;
  void project_again(const LayerStep<Real>&) {}  // projections are kept
  void attend_interior_adjoint(const LayerStep<Real>& step) { attend(step, false, true); }
  void attend_boundary_adjoint(int layer, LayerStep<Real>& step, HaloExchange& halo, Stopwatch& watch);
  void project_adjoint(const LayerStep<Real>&) {}  // done with what the attention leaves
  std::array<Rows<Real>, 1> initial_adjoint_rows();
  void initial_adjoint();

  void allocate(int owned, int slots);
  void embed_species(const Composition& composition);
  void embed(const Composition& composition);
  void allocate_rim();
  using Kernel = void (*)(const LayerStep<Real>&, int, int, Real*);
  void run(Kernel kernel, const LayerStep<Real>& step, int begin, int end, int grain);
  void attend(const LayerStep<Real>& step, bool forward, bool interior);
  void project(int layer, const LayerStep<Real>& step, int begin, int end);
  ReadoutStep<Real> readout_step(Readouts& out);

  bool keeps_filters() const;

  std::shared_ptr<const Parameters<Real>> parameters_;
  std::optional<bool> keep_filters_;
  double memory_for_filters_;  // bytes
  const KernelTable<Real>& kernels_;
  ThreadPool& pool_;
  HarmonicsTable<Real> harmonics_;
  Edges<Real> edges_;
  FirstLayerTables<Real> first_layer_tables_;
  FirstLayer<Real> first_layer_;
  Composition composition_;           // of species_rows_ and the tables of the first layer
  AlignedVector<Real> species_rows_;  // [species] features that the first layer starts with
  AlignedVector<Real> embedded_;      // [species] features after the embedding, if later layers need them
  bool keeps_inputs_;                 // of every layer, because the adjoint of the projections needs them

  int owned_ = 0;
  int interior_ = 0;  // owned atoms whose edges all end at owned atoms
  int slots_ = 0;     // with features
  const int* species_ = nullptr;
  double *forces_ = nullptr, *virial_ = nullptr;  // of the adjoint under way
  std::vector<AlignedVector<Real>> x_, projected_, projection_, chi_, x_attended_, chi_attended_, kept_, record_;  // by layer
  AlignedVector<Real> rim_features_, rim_chi_;
  std::vector<double> rim_forces_, rim_virial_;
  AlignedVector<Real> sums_, chi_sums_;  // over edges in the forward pass; in the adjoint dE/d(these)
  AlignedVector<Real> c6_rows_;          // gradients of ratios of C6 with respect to features
  AlignedVector<Real> gradient_projected_, gradient_x_, gradient_chi_;
  std::vector<AlignedVector<Real>> scratch_;  // by thread
};

}  // namespace so3md
