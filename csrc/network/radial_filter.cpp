#include "network/radial_filter.h"

#include "network/activation.h"

namespace so3md {

RadialFilter::RadialFilter(const LayerWeights& weights, const Layout& layout, const RadialFunctions& functions, bool chi_is_zero,
                           const Cutoff* times)
    : weights_(weights), layout_(layout), functions_(functions), times_(times), constant_(static_cast<std::size_t>(channels())) {
  set_constant(weights.filter_features, layout.head_width, layout.head_padded, chi_is_zero, constant_.data());
  set_constant(weights.filter_coordinates, layout.coordinate_head_width, layout.coordinate_head_padded, chi_is_zero,
               constant_.data() + layout.features_padded);
}

void RadialFilter::set_constant(const FilterWeights& filter, int head_width, int head_padded, bool chi_is_zero, double* constant) const {
  for (int channel = 0; channel < layout_.features; ++channel) {
    double sum = filter.radial2.bias[static_cast<std::size_t>(channel)] + filter.spherical2.bias[static_cast<std::size_t>(channel)];
    for (int hidden = 0; chi_is_zero && hidden < filter.spherical2.weight.cols; ++hidden)
      sum += filter.spherical2.weight(channel, hidden) *
             activate(layout_.activation, filter.spherical1.bias[static_cast<std::size_t>(hidden)]);
    constant[head_position(channel, head_width, head_padded)] = sum;
  }
}

void RadialFilter::evaluate(const FilterWeights& filter, const double* basis, const double* basis_derivative, int head_width,
                            int head_padded, double* value, double* derivative) const {
  const int hidden_width = filter.radial1.weight.rows;
  std::vector<double> hidden(static_cast<std::size_t>(hidden_width)), hidden_derivative(hidden.size());
  for (int row = 0; row < hidden_width; ++row) {
    const auto index = static_cast<std::size_t>(row);
    double z = filter.radial1.bias[index], dz = 0.0;
    for (int k = 0; k < layout_.num_radial; ++k) {
      z += filter.radial1.weight(row, k) * basis[k];
      dz += filter.radial1.weight(row, k) * basis_derivative[k];
    }
    double slope;
    hidden[index] = activate(layout_.activation, z, &slope);
    hidden_derivative[index] = slope * dz;
  }
  for (int channel = 0; channel < layout_.features; ++channel) {
    const double* weight = filter.radial2.weight.data.data() + static_cast<std::size_t>(channel) * hidden.size();
    double w = 0.0, dw = 0.0;
    for (std::size_t index = 0; index < hidden.size(); ++index) {
      w += weight[index] * hidden[index];
      dw += weight[index] * hidden_derivative[index];
    }
    const int position = head_position(channel, head_width, head_padded);
    value[position] += w;
    derivative[position] = dw;
  }
}

void RadialFilter::operator()(double r, double* value, double* derivative) const {
  std::vector<double> basis(static_cast<std::size_t>(functions_.size())), basis_derivative(basis.size());
  functions_(r, basis.data(), basis_derivative.data());
  if (times_ != nullptr) {
    double slope;
    const double phi = (*times_)(r, &slope);
    for (std::size_t k = 0; k < basis.size(); ++k) {
      basis_derivative[k] = phi * basis_derivative[k] + slope * basis[k];
      basis[k] *= phi;
    }
  }
  for (int channel = 0; channel < channels(); ++channel) {
    value[channel] = constant_[static_cast<std::size_t>(channel)];
    derivative[channel] = 0.0;
  }
  evaluate(weights_.filter_features, basis.data(), basis_derivative.data(), layout_.head_width, layout_.head_padded, value, derivative);
  evaluate(weights_.filter_coordinates, basis.data(), basis_derivative.data(), layout_.coordinate_head_width,
           layout_.coordinate_head_padded, value + layout_.features_padded, derivative + layout_.features_padded);
}

}  // namespace so3md
