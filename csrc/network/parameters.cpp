#include "network/parameters.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "network/fitted_filter.h"
#include "network/radial_filter.h"

namespace so3md {

// A matrix (depth, columns) and a bias, already at the places that the layout gives to inputs and outputs.
template <class Real>
struct Parameters<Real>::Placed {
  Placed(int inputs, int outputs, bool with_bias)
      : depth(inputs),
        columns(outputs),
        weight(static_cast<std::size_t>(inputs) * static_cast<std::size_t>(outputs)),
        bias(with_bias ? static_cast<std::size_t>(outputs) : 0) {}
  int depth;
  int columns;
  std::vector<double> weight;
  std::vector<double> bias;

  double& at(int in, int out) {
    return weight[static_cast<std::size_t>(in) * static_cast<std::size_t>(columns) + static_cast<std::size_t>(out)];
  }
  double at(int in, int out) const { return const_cast<Placed*>(this)->at(in, out); }

  // Puts a dense layer at output offset `out`, in heads if head_width > 0.
  void put(const Dense& dense, int out = 0, int head_width = 0, int head_padded = 0) {
    for (int row = 0; row < dense.weight.rows; ++row) {
      const int place = out + (head_width > 0 ? head_position(row, head_width, head_padded) : row);
      for (int column = 0; column < dense.weight.cols; ++column) at(column, place) = dense.weight(row, column);
      if (!bias.empty()) bias[static_cast<std::size_t>(place)] = dense.bias[static_cast<std::size_t>(row)];
    }
  }
};

namespace {

// Panels of kPanel columns, each with all its rows behind each other.
template <class Real, class Element>
void pack_panels(int depth, int columns, const Element& element, Real* to) {
  constexpr int panel = kPanel<Real>;
  for (int first = 0; first < padded<Real>(columns); first += panel)
    for (int row = 0; row < depth; ++row)
      for (int lane = 0; lane < panel; ++lane) *to++ = first + lane < columns ? static_cast<Real>(element(row, first + lane)) : Real(0);
}

}  // namespace

template <class Real>
Real* Parameters<Real>::allocate(std::size_t count) {
  return storage_.emplace_back(count, Real(0)).data();
}

template <class Real>
const Real* Parameters<Real>::store(const std::vector<double>& values, int padded_size) {
  Real* to = allocate(static_cast<std::size_t>(padded_size));
  std::transform(values.begin(), values.end(), to, [](double value) { return static_cast<Real>(value); });
  return to;
}

template <class Real>
NormParameters<Real> Parameters<Real>::store(const LayerNormWeights& norm) {
  return {store(norm.scale, layout.feature_stride), store(norm.bias, layout.feature_stride)};
}

template <class Real>
LinearPair<Real> Parameters<Real>::pack(const Placed& matrix) {
  LinearPair<Real> out;
  const int columns = padded<Real>(matrix.columns), back = padded<Real>(matrix.depth);
  Real* forward = allocate(static_cast<std::size_t>(matrix.depth) * static_cast<std::size_t>(columns));
  Real* adjoint = allocate(static_cast<std::size_t>(matrix.columns) * static_cast<std::size_t>(back));
  pack_panels<Real>(matrix.depth, matrix.columns, [&](int in, int out_) { return matrix.at(in, out_); }, forward);
  pack_panels<Real>(matrix.columns, matrix.depth, [&](int in, int out_) { return matrix.at(out_, in); }, adjoint);
  const Real* bias = matrix.bias.empty() ? nullptr : store(matrix.bias, columns);
  out.forward = {forward, bias, matrix.depth, columns};
  out.adjoint = {adjoint, nullptr, matrix.columns, back};
  return out;
}

template <class Real>
HeadLinear<Real> Parameters<Real>::pack_heads(const HeadMatrices& matrices, int padded_width) {
  HeadLinear<Real> out;
  out.heads = matrices.heads;
  out.width = matrices.width;
  out.padded_width = padded_width;
  out.head_size = matrices.width * padded_width;
  out.adjoint_size = matrices.width * padded<Real>(matrices.width);
  Real* forward = allocate(static_cast<std::size_t>(out.heads) * static_cast<std::size_t>(out.head_size));
  Real* adjoint = allocate(static_cast<std::size_t>(out.heads) * static_cast<std::size_t>(out.adjoint_size));
  for (int head = 0; head < out.heads; ++head) {
    pack_panels<Real>(out.width, out.width, [&](int in, int e) { return matrices(head, in, e); }, forward + head * out.head_size);
    pack_panels<Real>(out.width, out.width, [&](int e, int in) { return matrices(head, in, e); }, adjoint + head * out.adjoint_size);
  }
  out.forward = forward;
  out.adjoint = adjoint;
  return out;
}

template <class Real>
void Parameters<Real>::pack_filters(const LayerWeights& weights, LayerParameters<Real>& out) {
  const int hidden = weights.filter_features.spherical1.weight.rows, stride = layout.spherical_hidden;
  Real* first = allocate(static_cast<std::size_t>(layout.num_degrees) * 2 * static_cast<std::size_t>(stride));
  Real* bias = allocate(2 * static_cast<std::size_t>(stride));
  const Dense* dense[] = {&weights.filter_features.spherical1, &weights.filter_coordinates.spherical1};
  for (int filter = 0; filter < 2; ++filter)
    for (int row = 0; row < hidden; ++row) {
      const int place = filter * stride + row;
      bias[place] = static_cast<Real>(dense[filter]->bias[static_cast<std::size_t>(row)]);
      for (int degree = 0; degree < layout.num_degrees; ++degree)
        first[degree * 2 * stride + place] = static_cast<Real>(dense[filter]->weight(row, degree));
    }
  out.spherical1_weight = first;
  out.spherical1_bias = bias;

  Placed features(hidden, layout.features_padded, false), coordinates(hidden, layout.coordinates_padded, false);
  features.put(weights.filter_features.spherical2, 0, layout.head_width, layout.head_padded);
  coordinates.put(weights.filter_coordinates.spherical2, 0, layout.coordinate_head_width, layout.coordinate_head_padded);
  out.spherical2_features = pack(features);
  out.spherical2_coordinates = pack(coordinates);
}

template <class Real>
void Parameters<Real>::pack_radial(const LayerWeights& weights, LayerParameters<Real>& out) {
  const bool first_layer = layers.empty();
  const RadialFilter filter(weights, layout, radial_functions, first_layer && first_layer_by_species);
  if (tabulated) {
    const FittedFilter fitted = fit_radial_filter(filter, model_.hyper.cutoff);
    out.table = fitted.table<Real>(store(fitted.rows, static_cast<int>(fitted.rows.size())));
    table_error.take_worse(fitted.error);
    return;
  }
  const int hidden = weights.filter_features.radial1.weight.rows;
  Placed first(layout.num_radial, 2 * layout.radial_hidden, true);
  first.put(weights.filter_features.radial1, 0);
  first.put(weights.filter_coordinates.radial1, layout.radial_hidden);
  Placed features(hidden, layout.features_padded, true), coordinates(hidden, layout.coordinates_padded, true);
  features.put(weights.filter_features.radial2, 0, layout.head_width, layout.head_padded);
  coordinates.put(weights.filter_coordinates.radial2, 0, layout.coordinate_head_width, layout.coordinate_head_padded);
  const auto split = filter.constant().begin() + layout.features_padded;
  features.bias.assign(filter.constant().begin(), split);
  coordinates.bias.assign(split, filter.constant().end());
  out.radial.dense1 = pack(first);
  out.radial.dense2_features = pack(features);
  out.radial.dense2_coordinates = pack(coordinates);
}

template <class Real>
void Parameters<Real>::pack_layer(const LayerWeights& weights, LayerParameters<Real>& out) {
  out.query = pack_heads(weights.query_features, layout.head_padded);
  out.key = pack_heads(weights.key_features, layout.head_padded);
  out.value = pack_heads(weights.value_features, layout.head_padded);
  out.coordinate_query = pack_heads(weights.query_coordinates, layout.coordinate_head_padded);
  out.coordinate_key = pack_heads(weights.key_coordinates, layout.coordinate_head_padded);
  pack_filters(weights, out);
  pack_radial(weights, out);

  const int features = layout.features;
  auto square = [&](const Dense& dense) {
    Placed placed(features, features, !dense.bias.empty());
    placed.put(dense);
    return pack(placed);
  };
  auto residual = [&](const ResidualWeights& mlp) -> ResidualParameters<Real> {
    return {square(mlp.dense1), square(mlp.dense2), mlp.dense3.weight.rows > 0 ? square(mlp.dense3) : LinearPair<Real>{}};
  };
  if (model_.hyper.layer_norm_1) out.norm1 = store(weights.norm1);
  if (model_.hyper.layer_norm_2) out.norm2 = store(weights.norm2);
  if (layout.residual_mlp_1) out.mlp1 = residual(weights.mlp1);
  if (layout.residual_mlp_2) out.mlp2 = residual(weights.mlp2);
  Placed exchange(features + layout.num_degrees, features + layout.num_degrees, true);
  exchange.put(weights.exchange);
  out.exchange = pack(exchange);
}

template <class Real>
HeadParameters<Real> Parameters<Real>::pack_readout(const Dense& dense1, const Dense& dense2) {
  HeadParameters<Real> out;
  out.hidden = dense1.weight.rows > 0;
  if (out.hidden) {
    Placed first(dense1.weight.cols, dense1.weight.rows, true);
    first.put(dense1);
    out.dense1 = pack(first);
  }
  Placed second(dense2.weight.cols, dense2.weight.rows, true);
  second.put(dense2);
  out.dense2 = pack(second);
  return out;
}

namespace {

// Kernels keep a few short arrays on the stack; these are their sizes.
const Model& check_limits(const Model& model, int pair_weights) {
  if (model.hyper.num_radial > kMostRadial)
    throw ModelError("the model has " + std::to_string(model.hyper.num_radial) + " radial basis functions: this engine takes at most " +
                     std::to_string(kMostRadial));
  if (pair_weights > kMostPairWeights)
    throw ModelError("the model has " + std::to_string(model.hyper.num_heads) + " heads and " + std::to_string(model.hyper.num_degrees()) +
                     " degrees: this engine takes at most " + std::to_string(kMostPairWeights) + " together");
  return model;
}

}  // namespace

template <class Real>
void Parameters<Real>::pack_layers() {
  for (const LayerWeights& weights : model_.layers) {
    LayerParameters<Real> packed;
    pack_layer(weights, packed);
    if (!layers.empty()) {
      layers.back().next_input_scale = static_cast<Real>(weights.input_scale);
      layers.back().next_embedding_scale = static_cast<Real>(weights.embedding_scale);
    }
    layers.push_back(packed);
  }
}

template <class Real>
Parameters<Real>::Parameters(const Model& model, RadialTables tables)
    : layout(make_layout<Real>(check_limits(model, padded<Real>(model.hyper.num_heads + model.hyper.num_degrees())).hyper)),
      radial_functions(model),
      tabulated(tables != RadialTables::none),
      first_layer_by_species(tabulated && model.hyper.initial_coordinates == InitialCoordinates::zero),
      model_(model) {
  pack_layers();
  if (tables == RadialTables::if_acceptable && !table_error.acceptable()) {
    tabulated = first_layer_by_species = false;
    layers.clear();
    storage_.clear();
    pack_layers();
  }
  if (model.hyper.final_layer_norm) layers.back().final_norm = store(model.final_norm);
  energy = pack_readout(model.energy_dense1, model.energy_dense2);
  if (model.uncertainty.given()) {
    Placed factor(model.uncertainty.factor.cols, model.uncertainty.factor.rows, false);
    factor.put({model.uncertainty.factor, {}});
    uncertainty_factor = pack(factor).forward;
  }
  if (model.hyper.charge_head) charge = pack_readout(model.charge_dense1, model.charge_dense2);
  if (model.hyper.c6_head) c6 = pack_readout(model.c6_dense1, model.c6_dense2);
  if (model.hyper.hirshfeld_head) {
    hirshfeld = pack_readout(model.hirshfeld_dense1, model.hirshfeld_dense2);
    const int size = model.hyper.hirshfeld_size, stride = layout.hirshfeld_size;
    Real* query = allocate(model.elements.size() * static_cast<std::size_t>(stride));
    for (int element = 0; element < model.hirshfeld_query.rows; ++element)
      for (int k = 0; k < size; ++k)
        query[element * stride + k] = static_cast<Real>(model.hirshfeld_query(element, k) / std::sqrt(static_cast<double>(size)));
    hirshfeld_query = query;
  }
}

template class Parameters<float>;
template class Parameters<double>;

}  // namespace so3md
