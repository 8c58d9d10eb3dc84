// The weights of a model in the form that kernels read: packed in panels, padded, in the precision of the network.
#pragma once

#include <deque>
#include <vector>

#include "common/aligned.h"
#include "model/model.h"
#include "model/radial.h"
#include "network/layout.h"

namespace so3md {

/// y = W x + b for rows of x. The matrix lies in panels of kPanel output columns, each panel with its `depth` rows behind each other.
template <class Real>
struct Linear {
  const Real* weight = nullptr;
  const Real* bias = nullptr;  ///< [columns], or null
  int depth = 0;               ///< length of x
  int columns = 0;             ///< length of y, padded
};

/// A linear map and the one that takes gradients back through it.
template <class Real>
struct LinearPair {
  Linear<Real> forward;
  Linear<Real> adjoint;  ///< the transposed matrix, no bias
};

/// One small matrix per head, from a slice of x to a padded head, and back.
template <class Real>
struct HeadLinear {
  int heads = 0;
  int width = 0;                  ///< width of a slice of x
  int padded_width = 0;           ///< width of a head
  const Real* forward = nullptr;  ///< per head: depth `width`, columns `padded_width`
  const Real* adjoint = nullptr;  ///< per head: depth `padded_width`, columns padded(width)
  int head_size = 0;              ///< numbers of one packed head, forward
  int adjoint_size = 0;           ///< numbers of one packed head, adjoint
};

template <class Real>
struct NormParameters {
  const Real* scale = nullptr;
  const Real* bias = nullptr;
};

template <class Real>
struct ResidualParameters {
  LinearPair<Real> dense1, dense2;
  LinearPair<Real> dense3;  ///< of three layers, else without weights
};

/// Radial filters as a quintic B-spline (eq. 51 of docs/theory.md), uniform in the coordinate z = r / (r + half), which puts knots where
/// filters vary most, at short distances: value(r) = sum_s b_s(t) row[first + s], all channels in one row.
template <class Real>
struct RadialTable {
  const Real* rows = nullptr;  ///< null: the exact network is evaluated
  int columns = 0;
  double half = 0.0;                ///< distance of z = 1/2, A
  double intervals_per_unit = 0.0;  ///< of z
  int intervals = 0;                ///< rows are intervals + 5
};

/// The radial filter networks as they are, for the exact mode.
template <class Real>
struct RadialNetwork {
  LinearPair<Real> dense1;                               ///< both filters side by side
  LinearPair<Real> dense2_features, dense2_coordinates;  ///< their bias holds the bias of the spherical networks too
};

template <class Real>
struct LayerParameters {
  HeadLinear<Real> query, key, value, coordinate_query, coordinate_key;
  const Real* spherical1_weight = nullptr;  ///< [degree][2 * spherical_hidden]
  const Real* spherical1_bias = nullptr;    ///< [2 * spherical_hidden]
  LinearPair<Real> spherical2_features, spherical2_coordinates;
  RadialTable<Real> table;  ///< features then coordinates, in head layout; holds the biases of all filter networks
  RadialNetwork<Real> radial;
  NormParameters<Real> norm1, norm2;
  NormParameters<Real> final_norm;  ///< of the last layer, if the model has one
  ResidualParameters<Real> mlp1, mlp2;
  LinearPair<Real> exchange;
  Real next_input_scale = 1, next_embedding_scale = 0;  ///< what the next layer starts with: these times x and times the embedding
};

/// A readout with one hidden layer, or none (then dense1 has depth 0).
template <class Real>
struct HeadParameters {
  bool hidden = false;
  LinearPair<Real> dense1, dense2;
};

/// Largest error of the tabulated radial filters against the networks, over all layers and channels, off the knots.
struct TableError {
  double begin = 0.0;             ///< distance in A from which on `value` and `derivative` hold, shorter than any bond
  double value = 0.0;             ///< in the unit of the filters
  double derivative = 0.0;        ///< 1/A
  double close_value = 0.0;       ///< below `begin`
  double close_derivative = 0.0;  ///< below `begin`, 1/A
  double scale = 0.0;             ///< largest filter value, to judge the errors by
  int intervals = 0;              ///< of the finest table; 0: there was none

  /// Parts of the largest filter value (for derivatives, per A) that errors may reach before networks are used instead: from there on,
  /// tables would be what limits `mixed`, and not its rounding.
  static constexpr double kWorstValue = 1e-6, kWorstDerivative = 1e-4;
  bool acceptable() const { return value <= kWorstValue * scale && derivative <= kWorstDerivative * scale; }

  /// The larger errors of both, which have the same `begin`.
  void take_worse(const TableError& other);
};

/// Where radial filters come from.
enum class RadialTables {
  none,           ///< their networks
  if_acceptable,  ///< splines, or the networks of all layers if the splines are not good enough
  always          ///< splines, however good
};

template <class Real>
class Parameters {
 public:
  Parameters(const Model& model, RadialTables tables);
  Parameters(const Parameters&) = delete;
  Parameters& operator=(const Parameters&) = delete;

  const Model& model() const { return model_; }

  Layout layout;
  std::vector<LayerParameters<Real>> layers;
  HeadParameters<Real> energy, charge, hirshfeld, c6;
  Linear<Real> uncertainty_factor;        ///< of depth 0 where the model has none
  const Real* hirshfeld_query = nullptr;  ///< [elements][hirshfeld_size padded], divided by the square root of its length
  RadialFunctions radial_functions;
  bool tabulated = false;               ///< what came of the wish for tables
  bool first_layer_by_species = false;  ///< tabulated, and chi starts at zero: attention of the first
                                        ///< layer has tables of its own
  TableError table_error;               ///< also of tables that were given up

 private:
  const Model& model_;
  std::deque<AlignedVector<Real>> storage_;

  void pack_layers();
  Real* allocate(std::size_t count);
  const Real* store(const std::vector<double>& values, int padded_size);
  NormParameters<Real> store(const LayerNormWeights& norm);
  struct Placed;
  LinearPair<Real> pack(const Placed& matrix);
  HeadLinear<Real> pack_heads(const HeadMatrices& matrices, int padded_width);
  void pack_filters(const LayerWeights& weights, LayerParameters<Real>& out);
  void pack_radial(const LayerWeights& weights, LayerParameters<Real>& out);
  void pack_layer(const LayerWeights& weights, LayerParameters<Real>& out);
  HeadParameters<Real> pack_readout(const Dense& dense1, const Dense& dense2);
};

}  // namespace so3md
