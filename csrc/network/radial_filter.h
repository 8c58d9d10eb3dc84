// The radial parts of the two filters of a layer as one function of the distance, in double.
#pragma once

#include <vector>

#include "model/radial.h"
#include "network/layout.h"

namespace so3md {

/// w(r) = radial2 act(radial1 g(r) + bias) + constant (eq. 17 of docs/theory.md), for both filters in head layout. The constant collects
/// the biases of radial2 and spherical2, and where chi is zero, as in a first layer, the whole spherical filter. In the architecture of
/// 2022, g is multiplied by the cutoff function (eq. 57).
class RadialFilter {
 public:
  RadialFilter(const LayerWeights& weights, const Layout& layout, const RadialFunctions& functions, bool chi_is_zero,
               const Cutoff* times = nullptr);
  int channels() const { return layout_.features_padded + layout_.coordinates_padded; }
  void operator()(double r, double* value, double* derivative) const;
  /// The constant of channel `c` in head layout.
  const std::vector<double>& constant() const { return constant_; }

 private:
  void evaluate(const FilterWeights& filter, const double* basis, const double* basis_derivative, int head_width, int head_padded,
                double* value, double* derivative) const;
  void set_constant(const FilterWeights& filter, int head_width, int head_padded, bool chi_is_zero, double* constant) const;

  const LayerWeights& weights_;
  const Layout& layout_;
  const RadialFunctions& functions_;
  const Cutoff* times_;
  std::vector<double> constant_;
};

/// Where channel c of the unpadded features stands in head layout.
inline int head_position(int channel, int head_width, int head_padded) { return channel / head_width * head_padded + channel % head_width; }

}  // namespace so3md
