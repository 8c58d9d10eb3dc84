#include "paper2022/parameters.h"

#include <cmath>

#include "common/index.h"
#include "network/activation.h"
#include "network/fitted_filter.h"
#include "paper2022/clebsch_gordan.h"

namespace so3md::paper2022 {

namespace {

/// Where a row of heads starts, and how wide its heads are without and with padding.
struct HeadPlace {
  int offset, width, padded_width;
  int operator()(int channel) const { return offset + channel / width * padded_width + channel % width; }
};

// A dense map whose outputs are channels of heads. `input`: place of its first input.
void put(const Dense& dense, int input, const HeadPlace& place, PlacedMatrix& to) {
  for (int row = 0; row < dense.weight.rows; ++row) {
    for (int column = 0; column < dense.weight.cols; ++column) to.at(input + column, place(row)) = dense.weight(row, column);
    if (!to.bias.empty()) to.bias[index_of(place(row))] += dense.bias[index_of(row)];
  }
}

HeadPlace plain(int offset, const Dense& dense) { return {offset, dense.weight.rows, dense.weight.rows}; }

// One matrix per head, with a bias.
void put_heads(const HeadMatrices& matrices, const Matrix& bias, double factor, const HeadPlace& place, PlacedMatrix& to) {
  for (int head = 0; head < matrices.heads; ++head)
    for (int out = 0; out < matrices.width; ++out) {
      const int column = place(head * matrices.width + out);
      for (int in = 0; in < matrices.width; ++in) to.at(head * matrices.width + in, column) = factor * matrices(head, in, out);
      to.bias[index_of(column)] = factor * bias(head, out);
    }
}

const Model& check_limits(const Model& model) {
  if (model.hyper.num_radial > kMostRadial)
    throw ModelError("the model has " + std::to_string(model.hyper.num_radial) + " radial basis functions: this engine takes at most " +
                     std::to_string(kMostRadial));
  return model;
}

}  // namespace

template <class Real>
LinearPair<Real> Parameters<Real>::pack_dense(const Dense& dense) {
  PlacedMatrix matrix(dense.weight.cols, dense.weight.rows, true);
  put(dense, 0, plain(0, dense), matrix);
  return memory_.pack(matrix);
}

template <class Real>
void Parameters<Real>::pack_projection(const LayerWeights& weights, LayerParameters<Real>& out) {
  const HeadPlace query{layout.query_offset, layout.head_width, layout.head_padded};
  const HeadPlace key{layout.key_offset, layout.head_width, layout.head_padded};
  const HeadPlace value{layout.value_offset, layout.head_width, layout.head_padded};
  const HeadPlace coordinate_query{layout.coordinate_query_offset, layout.coordinate_head_width, layout.coordinate_head_padded};
  const HeadPlace coordinate_key{layout.coordinate_key_offset, layout.coordinate_head_width, layout.coordinate_head_padded};
  const Layer2022Weights& biases = weights.of_2022;
  PlacedMatrix matrix(layout.features, layout.projection_stride, true);
  put_heads(weights.query_features, biases.query_features_bias, layout.features_normalizer, query, matrix);
  put_heads(weights.key_features, biases.key_features_bias, 1.0, key, matrix);
  put_heads(weights.value_features, biases.value_features_bias, 1.0, value, matrix);
  put_heads(weights.query_coordinates, biases.query_coordinates_bias, layout.coordinates_normalizer, coordinate_query, matrix);
  put_heads(weights.key_coordinates, biases.key_coordinates_bias, 1.0, coordinate_key, matrix);
  out.projection = memory_.pack(matrix);
}

template <class Real>
void Parameters<Real>::pack_filters(const LayerWeights& weights, LayerParameters<Real>& out) {
  const FilterWeights &features = weights.filter_features, &coordinates = weights.filter_coordinates;
  const HeadPlace feature_heads{0, layout.head_width, layout.head_padded};
  const HeadPlace coordinate_heads{0, layout.coordinate_head_width, layout.coordinate_head_padded};

  const auto side_by_side = [&](const Dense& first, const Dense& second, int stride) {
    PlacedMatrix matrix(first.weight.cols, 2 * stride, true);
    put(first, 0, plain(0, first), matrix);
    put(second, 0, plain(stride, second), matrix);
    return memory_.pack(matrix);
  };
  out.radial1 = side_by_side(features.radial1, coordinates.radial1, layout.radial_hidden);
  out.spherical1 = side_by_side(features.spherical1, coordinates.spherical1, layout.spherical_hidden);
  const Matrix& first = coordinates.spherical1.weight;
  std::vector<double> by_degree(index_of(layout.num_degrees) * index_of(layout.spherical_hidden));
  for (int degree = 0; degree < first.cols; ++degree)
    for (int row = 0; row < first.rows; ++row)
      by_degree[index_of(degree) * index_of(layout.spherical_hidden) + index_of(row)] = first(row, degree);
  out.beyond_spherical1 = memory_.store(by_degree, static_cast<int>(by_degree.size()));
  out.beyond_spherical1_bias = memory_.store(coordinates.spherical1.bias, layout.spherical_hidden);

  const auto second_layers = [&](const FilterWeights& filter, const HeadPlace& heads, int channels, LinearPair<Real>& radial,
                                 LinearPair<Real>& spherical) {
    PlacedMatrix radial2(filter.radial2.weight.cols, channels, true), spherical2(filter.spherical2.weight.cols, channels, false);
    put(filter.radial2, 0, heads, radial2);
    put(filter.spherical2, 0, heads, spherical2);
    for (int row = 0; row < filter.spherical2.weight.rows; ++row)
      radial2.bias[index_of(heads(row))] += filter.spherical2.bias[index_of(row)];
    radial = memory_.pack(radial2);
    spherical = memory_.pack(spherical2);
    return radial2;
  };
  second_layers(features, feature_heads, layout.features_padded, out.radial2_features, out.spherical2_features);
  const PlacedMatrix radial2 =
      second_layers(coordinates, coordinate_heads, layout.coordinates_padded, out.radial2_coordinates, out.spherical2_coordinates);

  std::vector<double> beyond = radial2.bias;
  for (int hidden = 0; hidden < radial2.depth; ++hidden) {
    const double value = activate(layout.activation, coordinates.radial1.bias[index_of(hidden)]);
    for (int channel = 0; channel < radial2.columns; ++channel) beyond[index_of(channel)] += value * radial2.at(hidden, channel);
  }
  out.beyond = memory_.store(beyond, layout.coordinates_padded);
}

template <class Real>
void Parameters<Real>::tabulate() {
  for (std::size_t layer = 0; layer < layers.size(); ++layer) {
    const RadialFilter filter(model_.layers[layer], layout, radial_functions, false, &cutoff);
    const FittedFilter fitted = fit_radial_filter(filter, model_.hyper.cutoff);
    layers[layer].table = fitted.table<Real>(memory_.store(fitted.rows, static_cast<int>(fitted.rows.size())));
    table_error.take_worse(fitted.error);
  }
}

// Products of degrees l1 < l2, as the paper has them; with parity, only those that do not change the energy under inversion.
template <class Real>
void Parameters<Real>::pack_self_mix(const std::vector<double>& kappa, LayerParameters<Real>& out) {
  const int degrees = layout.num_degrees;
  std::vector<CoordinateProduct<Real>>& products = products_.emplace_back();
  for (int third = 0; third < degrees; ++third)
    for (int first = 0; first < degrees; ++first)
      for (int second = first + 1; second < degrees; ++second) {
        const int l1 = layout.degree[first], l2 = layout.degree[second], l3 = layout.degree[third];
        if (model_.hyper.parity && (l1 + l2 + l3) % 2 != 0) continue;
        const double factor = kappa[index_of((third * degrees + first) * degrees + second)];
        const std::vector<double> coefficients = clebsch_gordan(l1, l2, l3);
        std::size_t at = 0;
        for (int m1 = 0; m1 <= 2 * l1; ++m1)
          for (int m2 = 0; m2 <= 2 * l2; ++m2)
            for (int m3 = 0; m3 <= 2 * l3; ++m3, ++at) {
              if (std::abs(coefficients[at]) < 1e-12) continue;
              products.push_back({layout.degree_offset[first] + m1, layout.degree_offset[second] + m2, layout.degree_offset[third] + m3,
                                  static_cast<Real>(factor * coefficients[at])});
            }
      }
  out.products = products.data();
  out.num_products = static_cast<int>(products.size());
}

template <class Real>
void Parameters<Real>::pack_node(const LayerWeights& weights, LayerParameters<Real>& out) {
  const Layer2022Weights& own = weights.of_2022;
  if (layout.norm_attended) {
    out.norm1 = {memory_.store(weights.norm1.scale, layout.feature_stride), memory_.store(weights.norm1.bias, layout.feature_stride)};
    out.norm2 = {memory_.store(weights.norm2.scale, layout.feature_stride), memory_.store(weights.norm2.bias, layout.feature_stride)};
  }
  if (model_.hyper.coordinate_norm) {
    out.coordinate_norm1 = memory_.store(own.coordinate_norm1_scale, degree_stride);
    out.coordinate_norm2 = memory_.store(own.coordinate_norm2_scale, degree_stride);
  }
  pack_self_mix(own.self_mix, out);
  out.gate = pack_dense(own.self_mix_gate);
  out.exchange = pack_dense(weights.exchange);
}

template <class Real>
Parameters<Real>::Parameters(const Model& model, RadialTables tables)
    : layout(make_layout<Real>(check_limits(model).hyper)),
      exchange_out(padded<Real>(2 * (layout.features + layout.num_degrees))),
      degree_stride(padded<Real>(layout.num_degrees)),
      radial_functions(model),
      cutoff(model.hyper),
      model_(model) {
  for (const LayerWeights& weights : model.layers) {
    LayerParameters<Real>& out = layers.emplace_back();
    pack_projection(weights, out);
    pack_filters(weights, out);
    pack_node(weights, out);
  }
  if (tables != RadialTables::none) tabulate();
  tabulated = tables == RadialTables::always || (tables == RadialTables::if_acceptable && table_error.acceptable());
  for (LayerParameters<Real>& layer : layers)
    if (!tabulated) layer.table = {};
  energy.hidden = model.energy_dense1.weight.rows > 0;
  if (energy.hidden) energy.dense1 = pack_dense(model.energy_dense1);
  energy.dense2 = pack_dense(model.energy_dense2);
}

template class Parameters<float>;
template class Parameters<double>;

}  // namespace so3md::paper2022
