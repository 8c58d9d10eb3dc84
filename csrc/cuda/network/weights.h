// The weights of a model on the device, in the order in which the kernels read them.
#pragma once

#include <deque>
#include <vector>

#include "cuda/device_array.h"
#include "cuda/network/filter_table.h"

namespace so3md::cuda {

/// y = x W + b for rows of x. W lies in rows of `stride` numbers, one for each input.
template <class Real>
struct DeviceMatrix {
  const Real* weight = nullptr;  ///< null: the model does not have it
  const Real* bias = nullptr;    ///< [columns], or null
  int depth = 0;                 ///< length of x
  int columns = 0;               ///< length of y
  int stride = 0;
};

/// A linear map and the one that takes gradients back through it.
template <class Real>
struct MatrixPair {
  DeviceMatrix<Real> forward, adjoint;
};

/// The maps of all heads to queries, keys, and so on: [part][head] small matrices behind each other.
template <class Real>
struct HeadMaps {
  MatrixPair<Real> map;        ///< of the first head
  int parts = 0;               ///< q, k, v, or q', k'
  std::int64_t head_size = 0;  ///< numbers from one head to the next, forward and adjoint alike
};

template <class Real>
struct NormWeights {
  const Real *scale = nullptr, *bias = nullptr;  ///< [features]; null: the model does not have it
};

template <class Real>
struct ResidualMaps {
  MatrixPair<Real> dense1, dense2, dense3;  ///< the third of three layers only
};

/// The two filters of a layer, of features and of coordinates: their hidden values (of the spherical network, then of the radial one where
/// that is not tabulated) go through one matrix each.
template <class Real>
struct FilterMaps {
  const Real* spherical1 = nullptr;       ///< [degree][2 * spherical_hidden]; null: chi is zero, and the table holds the spherical filter
  const Real* spherical1_bias = nullptr;  ///< [2 * spherical_hidden]
  const Real* radial1 = nullptr;          ///< [num_radial][2 * radial_hidden]
  const Real* radial1_bias = nullptr;     ///< [2 * radial_hidden]
  const Real* second = nullptr;           ///< [filter][hidden_rows][filter_stride]
  const Real* constant = nullptr;         ///< [2 * channels] biases, where there is no table
  FilterTable<Real> table;
};

/// Radial basis functions (so3md::RadialFunctions) for kernels.
struct RadialBasisView {
  RadialBasis type = RadialBasis::bernstein;
  int size = 0;
  double cutoff = 0.0;
  double gamma = 0.0;
  const double* centres = nullptr;  ///< binomials of the Bernstein basis
  const double* widths = nullptr;
};

template <class Real>
struct LayerMaps {
  HeadMaps<Real> features, coordinates;
  FilterMaps<Real> filter;
  NormWeights<Real> norm1, norm2, final_norm;
  ResidualMaps<Real> mlp1, mlp2;
  MatrixPair<Real> exchange;
};

/// A readout with one hidden layer, or none.
template <class Real>
struct ReadoutMaps {
  MatrixPair<Real> dense1, dense2;
  bool exists() const { return dense2.forward.weight != nullptr; }
  bool hidden() const { return dense1.forward.weight != nullptr; }
};

template <class Real>
class NetworkWeights {
 public:
  /// Returns when everything is on the device.
  NetworkWeights(const Parameters<Real>& parameters, const Stream& stream);

  NetworkLayout layout;
  std::vector<LayerMaps<Real>> layers;
  ReadoutMaps<Real> energy, charge, hirshfeld, c6;
  const Real* hirshfeld_query = nullptr;  ///< [elements][hirshfeld_size], divided by the square root of its length
  RadialBasisView radial_basis;

 private:
  struct Placed;
  const Real* store(const std::vector<double>& values);
  const double* store_exact(const std::vector<double>& values);
  NormWeights<Real> store(const LayerNormWeights& norm);
  MatrixPair<Real> store(const Placed& matrix);
  MatrixPair<Real> store(const Dense& dense);
  ResidualMaps<Real> store(const ResidualWeights& mlp);
  HeadMaps<Real> store_heads(const std::vector<const HeadMatrices*>& parts);
  void store_filters(const Parameters<Real>& parameters, std::size_t layer, FilterMaps<Real>& out);
  void store_radial_networks(const LayerWeights& weights, FilterMaps<Real>& out);
  const Real* store_numbers(const std::vector<Real>& values);
  void set_radial_basis(const Model& model);

  const Stream& stream_;
  std::deque<DeviceArray<Real>> arrays_;
  std::deque<DeviceArray<double>> exact_arrays_;
};

}  // namespace so3md::cuda
