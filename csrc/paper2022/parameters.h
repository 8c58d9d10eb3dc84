// The weights of a model of the architecture so3krates-2022 in the form that kernels read.
#pragma once

#include <vector>

#include "model/model.h"
#include "model/radial.h"
#include "network/layout.h"
#include "network/parameters.h"
#include "paper2022/packing.h"

namespace so3md::paper2022 {

/// One product of two coordinates in the self-interaction (eq. 69): out += coefficient * chi[first] * chi[second].
template <class Real>
struct CoordinateProduct {
  int first = 0, second = 0, out = 0;
  Real coefficient = Real(0);
};

/// Filters lie in rows of channels: those of the feature attention, then those of the coordinate attention, in head layout.
template <class Real>
struct LayerParameters {
  LinearPair<Real> projection;  ///< x to [q, k, v, q', k'] in head layout; 1 / sqrt(head width) is in q and q'

  RadialTable<Real> table;                                 ///< of the radial parts with all biases; or their networks:
  LinearPair<Real> radial1;                                ///< both filters side by side
  LinearPair<Real> radial2_features, radial2_coordinates;  ///< their bias holds that of spherical2 too
  LinearPair<Real> spherical1;                             ///< both filters side by side
  LinearPair<Real> spherical2_features, spherical2_coordinates;
  const Real* beyond_spherical1 = nullptr;       ///< [degree][spherical_hidden], of the coordinate attention alone
  const Real* beyond_spherical1_bias = nullptr;  ///< [spherical_hidden]
  const Real* beyond = nullptr;                  ///< [coordinates_padded] radial part of the coordinate filter beyond the cutoff

  NormParameters<Real> norm1, norm2;
  const Real* coordinate_norm1 = nullptr;  ///< [degrees] scales, or null
  const Real* coordinate_norm2 = nullptr;
  const CoordinateProduct<Real>* products = nullptr;  ///< of the self-interaction
  int num_products = 0;
  LinearPair<Real> gate;      ///< degrees to F
  LinearPair<Real> exchange;  ///< F + degrees to (a1, a2, b1, b2)
};

template <class Real>
class Parameters {
 public:
  Parameters(const Model& model, RadialTables tables);
  Parameters(const Parameters&) = delete;
  Parameters& operator=(const Parameters&) = delete;

  const Model& model() const { return model_; }

  Layout layout;
  int exchange_out = 0;   ///< 2 F + 2 degrees, padded
  int degree_stride = 0;  ///< number of degrees, padded
  std::vector<LayerParameters<Real>> layers;
  HeadParameters<Real> energy;
  RadialFunctions radial_functions;
  Cutoff cutoff;
  bool tabulated = false;  ///< what came of the wish for tables
  TableError table_error;  ///< also of tables that were given up

 private:
  void pack_projection(const LayerWeights& weights, LayerParameters<Real>& out);
  void pack_filters(const LayerWeights& weights, LayerParameters<Real>& out);
  void tabulate();
  void pack_node(const LayerWeights& weights, LayerParameters<Real>& out);
  void pack_self_mix(const std::vector<double>& kappa, LayerParameters<Real>& out);
  LinearPair<Real> pack_dense(const Dense& dense);

  const Model& model_;
  PackedMemory<Real> memory_;
  std::deque<std::vector<CoordinateProduct<Real>>> products_;
};

}  // namespace so3md::paper2022
