// The message-passing network: from a domain to atomic energies, charges and Hirshfeld ratios, and gradients back to forces.
#pragma once

#include <memory>
#include <vector>

#include "common/aligned.h"
#include "common/stopwatch.h"
#include "common/thread_pool.h"
#include "geometry/domain.h"
#include "halo/halo_exchange.h"
#include "network/edges.h"
#include "network/embedding.h"
#include "network/first_layer.h"
#include "network/kernels.h"

namespace so3md {

/// Outputs of the readouts for owned atoms, before element-wise scales and offsets.
struct Readouts {
  std::vector<double> energy, charge, hirshfeld;
};

/// Features of every layer, for tests; rows of owned atoms without padding.
struct LayerFeatures {
  std::vector<double> x_in, chi_in, x_attended, chi_attended, x_out, chi_out;
};

template <class Real>
class Network {
 public:
  /// With tabulated parameters, the first layer has tables of its own, too; else everything is done as the equations stand. Networks may
  /// share their parameters, also in several threads.
  Network(std::shared_ptr<const Parameters<Real>> parameters, ThreadPool& pool);

  const Parameters<Real>& parameters() const { return *parameters_; }
  const std::shared_ptr<const Parameters<Real>>& shared_parameters() const { return parameters_; }
  const char* instruction_set() const { return kernels_.instruction_set; }
  Edges<Real>& edges() { return edges_; }

  /// `species`: by slot, positions in Model::elements. The edges of the domain must have been built.
  void forward(const Domain& domain, const int* species, const Composition& composition, HaloExchange& halo, Readouts& out,
               Stopwatch& watch, std::vector<LayerFeatures>* features = nullptr);

  /// After forward(): takes gradients of the energy with respect to the readouts back to forces (n_owned, 3; eV/A) and virials (n_owned,
  /// 9; eV; half of each pair), both added to. Empty gradients: that head has none.
  void adjoint(const Readouts& gradients, HaloExchange& halo, double* forces, double* virial, Stopwatch& watch);

 private:
  void allocate(int owned, int slots);
  void embed_species(const Composition& composition);
  void embed(const Composition& composition);
  LayerStep<Real> step(int layer);
  void allocate_rim();
  using Kernel = void (*)(const LayerStep<Real>&, int, int, Real*);
  void run(Kernel kernel, const LayerStep<Real>& step, int begin, int end, int grain);
  void attend(const LayerStep<Real>& step, bool forward, bool interior);
  bool is_by_species(int layer) const { return layer == 0 && parameters_->first_layer_by_species; }
  void initialise_coordinates(HaloExchange& halo, Stopwatch& watch);
  void initial_adjoint(LayerStep<Real> step, HaloExchange& halo, Stopwatch& watch);
  void project(int layer, int begin, int end);
  ReadoutStep<Real> readout_step(Readouts& out);
  void record(int layer, LayerFeatures& out) const;

  std::shared_ptr<const Parameters<Real>> parameters_;
  const KernelTable<Real>& kernels_;
  ThreadPool& pool_;
  HarmonicsTable<Real> harmonics_;
  Edges<Real> edges_;
  FirstLayerTables<Real> first_layer_tables_;
  FirstLayer<Real> first_layer_;
  Composition composition_;           // of species_rows_ and the tables of the first layer
  AlignedVector<Real> species_rows_;  // [species] features before the first layer
  bool keeps_inputs_;                 // of every layer, because the adjoint of the projections needs them

  int owned_ = 0;
  int interior_ = 0;  // owned atoms whose edges all end at owned atoms
  int slots_ = 0;     // with features
  const int* species_ = nullptr;
  std::vector<AlignedVector<Real>> x_, projected_, projection_, chi_, x_attended_, chi_attended_, kept_, record_;  // by layer
  AlignedVector<Real> rim_features_, rim_chi_;
  std::vector<double> rim_forces_, rim_virial_;
  AlignedVector<Real> gradient_attended_, gradient_chi_attended_, gradient_projected_, gradient_x_, gradient_chi_;
  std::vector<AlignedVector<Real>> scratch_;  // by thread
};

}  // namespace so3md
