// The message-passing network on the device: from edges to the numbers of the readouts, and gradients back to forces. What each step
// computes is what so3md::Network computes (csrc/network/network.cpp), in the order of csrc/network/layer_order.h; nothing of the size of
// the edge list is kept.
#pragma once

#include <array>
#include <concepts>
#include <memory>
#include <vector>

#include "cuda/network/attention.h"
#include "cuda/network/element_tables.h"
#include "cuda/network/product.h"
#include "cuda/network/readouts.h"
#include "network/layer_order.h"

namespace so3md::cuda {

template <class Real>
class CudaNetwork {
 public:
  /// Returns when the weights are on the device. Throws ModelError, naming the option, for a model that the kernels do not take, and
  /// DeviceError. The stream must live longer.
  CudaNetwork(std::shared_ptr<const Parameters<Real>> parameters, const Stream& stream);

  /// Fills the arrays of `out` that are given. Domain, edges and halo must stay until adjoint() is done. `features`: of the owned atoms,
  /// copied to the host, for tests; waits for the stream.
  void forward(const DeviceDomain& domain, const DeviceEdges<Real>& edges, const Composition& composition, DeviceHalo& halo,
               const DeviceReadouts& out, StageTimer& timer, std::vector<LayerFeatures>* features = nullptr);

  /// After forward(): takes gradients of the energy with respect to the readouts back to forces ([n_owned][3], eV/A) and virials
  /// ([n_owned][9], eV; half of each pair), both added to. Null gradients: that head has none.
  void adjoint(const DeviceReadouts& gradients, DeviceHalo& halo, double* forces, double* virial, StageTimer& timer);

 private:
  /// Kept of a layer for its adjoint. Rows of owned atoms, x and chi of all with features.
  struct Kept {
    DeviceArray<Real> x, chi;  ///< input
    DeviceArray<Real> x_attended, chi_attended;
    DeviceArray<Real> mlp1_inner, mlp1_outer;  ///< before their activations
    DeviceArray<Real> exchange_input;          ///< what a norm before the exchange block acts on
    DeviceArray<Real> mlp2_input, mlp2_inner, mlp2_outer;
    DeviceArray<Real> output;  ///< what the last norms act on
    DeviceArray<Real> scale;   ///< b of the exchange block
  };

  void allocate();
  void resize_rows(DeviceArray<Real>& array, std::int64_t rows, int stride);

  // The steps of a layer, as so3md::LayerOrder calls them; all that it needs to know of a layer is its number.
  friend struct so3md::LayerOrder;
  int num_layers() const { return static_cast<int>(kept_.size()); }
  bool is_by_species(std::integral auto layer) const { return layer == 0 && parameters_->first_layer_by_species; }
  bool has_initial_coordinates() const { return weights_.layout.initial_scale != 0.0; }
  void initial_forward();
  std::array<Rows<Real>, 1> initial_rows();
  static std::size_t step(int layer) { return index_of(layer); }
  void project_own(int, std::size_t layer) { project(layer, true, 0, owned_); }
  void project_received(int, std::size_t layer) { project(layer, true, owned_, slots_); }
  void attend_interior(std::size_t) {}  // all atoms at once
  void attend_boundary(int, std::size_t layer, DeviceHalo& halo, StageTimer& timer);
  void record(int layer, LayerFeatures& out);
  std::array<Rows<Real>, 2> forward_rows(std::size_t layer);
  static std::size_t adjoint_step(int layer) { return index_of(layer); }
  std::array<Rows<Real>, 2> adjoint_rows(std::size_t layer);
  void project_again(std::size_t layer) {
    if (!is_last(layer)) project(layer, true, 0, slots_);  // those of the last layer are still there
  }
  void attend_interior_adjoint(std::size_t) {}
  void attend_boundary_adjoint(int, std::size_t layer, DeviceHalo& halo, StageTimer& timer);
  std::array<Rows<Real>, 1> initial_adjoint_rows();
  void initial_adjoint();

  bool is_last(std::size_t layer) const { return layer + 1 == weights_.layers.size(); }

  // attention (network_attention.cu)
  AttentionStep<Real> attention_step(std::size_t layer);
  void project(std::size_t layer, bool activated, std::int64_t begin, std::int64_t end);
  void project_heads(const HeadMaps<Real>& maps, const HeadSplit& split, int first_part, int parts, bool activated, const Real* x,
                     std::int64_t begin, std::int64_t end, int offset);
  void project_adjoint(std::size_t layer);
  void gradient_on_values();
  int gradient_on_values_width() const {
    return parameters_->first_layer_by_species
               ? weights_.layout.feature_heads.heads * static_cast<int>(parameters_->model().elements.size())
               : 0;
  }

  // per atom (network_nodes.cu)
  void product(const DeviceMatrix<Real>& matrix, const Real* a, int a_stride, Real* out, int out_stride, Product<Real> options = {});
  void residual_forward(const ResidualMaps<Real>& maps, const Real* x, Real* inner, Real* outer, Real* out);
  void residual_adjoint(const ResidualMaps<Real>& maps, const Real* x, const Real* inner, const Real* outer);
  void norm(const NormWeights<Real>& weights, const Real* x, Real* out, std::int64_t rows);
  void norm_adjoint(const NormWeights<Real>& weights, const Real* x, const Real* gradient, int stride, const Real* residual, Real* out);
  const Real* block_input(std::size_t layer);
  Real* x_last() { return sums_.data(); }  ///< output of the network: free until the adjoint of the last layer
  Real* x_out(std::size_t layer);
  Real* chi_out(std::size_t layer);
  bool normalises_output(std::size_t layer) const;
  bool mixes_embedding(std::size_t layer) const;
  void mix(std::size_t layer, const Real* table, Real* x);
  void node_forward(std::size_t layer);
  void node_adjoint(std::size_t layer);
  ExchangeStep<Real> exchange_step(std::size_t layer);
  const Real* exchange_source(std::size_t layer) const;
  void exchange_forward(std::size_t layer, const Real* x, Real* to);
  void exchange_adjoint(std::size_t layer);
  void output_norms_adjoint(std::size_t layer);

  // readouts
  ReadoutRows<Real> readout_rows(const ReadoutMaps<Real>& head, const Real* query) const;
  void readout(const ReadoutMaps<Real>& head, Activation activation, const Real* query, double* values);
  void readout_adjoint(const ReadoutMaps<Real>& head, Activation activation, const Real* query, const double* gradients);

  std::shared_ptr<const Parameters<Real>> parameters_;
  const Stream& stream_;
  NetworkWeights<Real> weights_;
  HarmonicsTable<Real> harmonics_;

  DeviceDomain domain_;
  DeviceEdges<Real> edges_;
  std::int64_t owned_ = 0, slots_ = 0;
  double *forces_ = nullptr, *virial_ = nullptr;  // of the adjoint under way
  ElementTables<Real> species_;
  std::vector<Kept> kept_;
  DeviceArray<Real> projection_, gradient_projection_, normalised_;
  // Of all with features. In the adjoint dE/d(sums over edges), the first as AttentionStep says; free in the forward pass.
  DeviceArray<Real> sums_, chi_sums_;
  DeviceArray<Real> gradient_x_, gradient_chi_;
  DeviceArray<Real> other_rows_;  // scratch: rows of features

  // Scratch that lies in gradient_projection_, which is free but from the adjoint of an attention to that of its projections.
  Real *wide_in_ = nullptr, *wide_out_ = nullptr;  // rows that are wide enough for every product
  Real* rows_ = nullptr;                           // rows of features
};

}  // namespace so3md::cuda
