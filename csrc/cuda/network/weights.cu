#include <algorithm>
#include <cmath>

#include "common/index.h"
#include "cuda/network/weights.h"

namespace so3md::cuda {

// A matrix (depth, columns) and a bias, at the places where kernels want them.
template <class Real>
struct NetworkWeights<Real>::Placed {
  Placed(int inputs, int outputs) : depth(inputs), columns(outputs), weight(index_of(inputs) * index_of(outputs)) {}

  double& at(int in, int out) { return weight[index_of(in) * index_of(columns) + index_of(out)]; }

  // Rows of `stride` numbers, the matrix or its transpose.
  std::vector<double> rows(bool transposed) const {
    const int height = transposed ? columns : depth, width = transposed ? depth : columns, stride = round_up(width, kQuad);
    std::vector<double> out(index_of(height) * index_of(stride));
    for (int in = 0; in < depth; ++in)
      for (int column = 0; column < columns; ++column) {
        const std::size_t place =
            transposed ? index_of(column) * index_of(stride) + index_of(in) : index_of(in) * index_of(stride) + index_of(column);
        out[place] = weight[index_of(in) * index_of(columns) + index_of(column)];
      }
    return out;
  }

  int depth, columns;
  std::vector<double> weight, bias;
};

template <class Real>
const Real* NetworkWeights<Real>::store(const std::vector<double>& values) {
  std::vector<Real> converted(values.size());
  std::transform(values.begin(), values.end(), converted.begin(), [](double value) { return static_cast<Real>(value); });
  return store_numbers(converted);
}

template <class Real>
const Real* NetworkWeights<Real>::store_numbers(const std::vector<Real>& values) {
  auto& array = arrays_.emplace_back();
  array.upload(values, stream_);
  stream_.synchronize();
  return array.data();
}

template <class Real>
const double* NetworkWeights<Real>::store_exact(const std::vector<double>& values) {
  auto& array = exact_arrays_.emplace_back();
  array.upload(values, stream_);
  stream_.synchronize();
  return array.data();
}

template <class Real>
NormWeights<Real> NetworkWeights<Real>::store(const LayerNormWeights& norm) {
  return {store(norm.scale), store(norm.bias)};
}

template <class Real>
MatrixPair<Real> NetworkWeights<Real>::store(const Placed& matrix) {
  MatrixPair<Real> out;
  out.forward = {store(matrix.rows(false)), matrix.bias.empty() ? nullptr : store(matrix.bias), matrix.depth, matrix.columns,
                 round_up(matrix.columns, kQuad)};
  out.adjoint = {store(matrix.rows(true)), nullptr, matrix.columns, matrix.depth, round_up(matrix.depth, kQuad)};
  return out;
}

template <class Real>
MatrixPair<Real> NetworkWeights<Real>::store(const Dense& dense) {
  if (dense.weight.rows == 0) return {};
  Placed placed(dense.weight.cols, dense.weight.rows);
  for (int out = 0; out < dense.weight.rows; ++out)
    for (int in = 0; in < dense.weight.cols; ++in) placed.at(in, out) = dense.weight(out, in);
  placed.bias = dense.bias;
  return store(placed);
}

template <class Real>
ResidualMaps<Real> NetworkWeights<Real>::store(const ResidualWeights& mlp) {
  return {store(mlp.dense1), store(mlp.dense2), store(mlp.dense3)};
}

// Small square matrices, all parts and heads behind each other.
template <class Real>
HeadMaps<Real> NetworkWeights<Real>::store_heads(const std::vector<const HeadMatrices*>& parts) {
  const int heads = parts.front()->heads, width = parts.front()->width, stride = round_up(width, kQuad);
  std::vector<double> forward, adjoint;
  for (const HeadMatrices* matrices : parts)
    for (int head = 0; head < heads; ++head) {
      Placed placed(width, width);
      for (int in = 0; in < width; ++in)
        for (int out = 0; out < width; ++out) placed.at(in, out) = (*matrices)(head, in, out);
      const std::vector<double> rows = placed.rows(false), transposed = placed.rows(true);
      forward.insert(forward.end(), rows.begin(), rows.end());
      adjoint.insert(adjoint.end(), transposed.begin(), transposed.end());
    }
  HeadMaps<Real> out;
  out.map.forward = {store(forward), nullptr, width, width, stride};
  out.map.adjoint = {store(adjoint), nullptr, width, width, stride};
  out.parts = static_cast<int>(parts.size());
  out.head_size = static_cast<std::int64_t>(width) * stride;
  return out;
}

// First linear map of the radial networks of both filters, and the biases of what it leads to.
template <class Real>
void NetworkWeights<Real>::store_radial_networks(const LayerWeights& weights, FilterMaps<Real>& out) {
  const int hidden = layout.radial_hidden;
  std::vector<double> first(index_of(layout.num_radial) * 2 * index_of(hidden)), bias(2 * index_of(hidden)),
      constant(2 * index_of(layout.channels));
  const FilterWeights* filters[] = {&weights.filter_features, &weights.filter_coordinates};
  for (int filter = 0; filter < 2; ++filter) {
    const FilterWeights& from = *filters[filter];
    for (int row = 0; row < hidden; ++row) {
      bias[index_of(filter * hidden + row)] = from.radial1.bias[index_of(row)];
      for (int k = 0; k < layout.num_radial; ++k) first[index_of((k * 2 + filter) * hidden + row)] = from.radial1.weight(row, k);
    }
    const HeadSplit& split = filter == 0 ? layout.feature_heads : layout.degree_heads;
    for (int channel = 0; channel < layout.features; ++channel)
      constant[index_of(filter * layout.channels + lane_position(split, channel / split.width, channel % split.width))] =
          from.radial2.bias[index_of(channel)] + from.spherical2.bias[index_of(channel)];
  }
  out.radial1 = store(first);
  out.radial1_bias = store(bias);
  out.constant = store(constant);
}

template <class Real>
void NetworkWeights<Real>::store_filters(const Parameters<Real>& parameters, std::size_t layer, FilterMaps<Real>& out) {
  const LayerWeights& weights = parameters.model().layers[layer];
  const FilterWeights* filters[] = {&weights.filter_features, &weights.filter_coordinates};
  if (parameters.tabulated) {
    const HostFilterTable<Real> table = make_filter_table(parameters, layer, layout);
    out.table = {store_numbers(table.rows), store_numbers(table.steps), table.coordinate};
  } else {
    store_radial_networks(weights, out);
  }

  const int hidden = layout.spherical_hidden;
  std::vector<double> first(index_of(layout.num_degrees) * 2 * index_of(hidden)), bias(2 * index_of(hidden));
  std::vector<double> second(2 * index_of(layout.hidden_rows) * index_of(layout.filter_stride));
  for (int filter = 0; filter < 2; ++filter) {
    const FilterWeights& from = *filters[filter];
    for (int row = 0; row < hidden; ++row) {
      bias[index_of(filter * hidden + row)] = from.spherical1.bias[index_of(row)];
      for (int degree = 0; degree < layout.num_degrees; ++degree)
        first[index_of((degree * 2 + filter) * hidden + row)] = from.spherical1.weight(row, degree);
    }
    const HeadSplit& split = filter == 0 ? layout.feature_heads : layout.degree_heads;
    for (int channel = 0; channel < layout.features; ++channel) {
      double* to = second.data() + index_of(filter * layout.hidden_rows) * index_of(layout.filter_stride) +
                   lane_position(split, channel / split.width, channel % split.width);
      for (int row = 0; row < hidden; ++row) to[index_of(row) * index_of(layout.filter_stride)] = from.spherical2.weight(channel, row);
      for (int row = 0; row < layout.radial_hidden; ++row)
        to[index_of(hidden + row) * index_of(layout.filter_stride)] = from.radial2.weight(channel, row);
    }
  }
  out.spherical1 = store(first);
  out.spherical1_bias = store(bias);
  out.second = store(second);
}

// As the constructor of so3md::RadialFunctions has it.
template <class Real>
void NetworkWeights<Real>::set_radial_basis(const Model& model) {
  const Hyperparameters& hyper = model.hyper;
  radial_basis.type = hyper.radial_basis;
  radial_basis.size = hyper.num_radial;
  radial_basis.cutoff = hyper.cutoff;
  radial_basis.gamma = hyper.bernstein_gamma;
  std::vector<double> centres(index_of(hyper.num_radial), 1.0);
  if (hyper.radial_basis == RadialBasis::bernstein) {
    for (std::size_t k = 1; k < centres.size(); ++k)
      centres[k] = std::round(centres[k - 1] * static_cast<double>(centres.size() - k) / static_cast<double>(k));
  } else if (hyper.radial_basis == RadialBasis::gaussian) {
    centres = model.radial_centers;
    radial_basis.widths = store_exact(model.radial_widths);
  } else if (hyper.radial_basis == RadialBasis::phys) {
    const double last = std::exp(-hyper.cutoff), step = hyper.num_radial == 1 ? 0.0 : (1.0 - last) / (hyper.num_radial - 1);
    for (std::size_t k = 0; k < centres.size(); ++k) centres[k] = last + step * static_cast<double>(k);
  }
  radial_basis.centres = store_exact(centres);
}

template <class Real>
NetworkWeights<Real>::NetworkWeights(const Parameters<Real>& parameters, const Stream& stream)
    : layout(make_network_layout(parameters.model().hyper, parameters.layout, parameters.tabulated)), stream_(stream) {
  const Model& model = parameters.model();
  const Hyperparameters& hyper = model.hyper;
  if (!parameters.tabulated) set_radial_basis(model);
  for (std::size_t layer = 0; layer < model.layers.size(); ++layer) {
    const LayerWeights& weights = model.layers[layer];
    LayerMaps<Real>& out = layers.emplace_back();
    out.features = store_heads({&weights.query_features, &weights.key_features, &weights.value_features});
    out.coordinates = store_heads({&weights.query_coordinates, &weights.key_coordinates});
    if (layer > 0 || !parameters.first_layer_by_species) store_filters(parameters, layer, out.filter);
    if (hyper.layer_norm_1) out.norm1 = store(weights.norm1);
    if (hyper.layer_norm_2) out.norm2 = store(weights.norm2);
    if (layout.residual_mlp_1) out.mlp1 = store(weights.mlp1);
    if (layout.residual_mlp_2) out.mlp2 = store(weights.mlp2);
    out.exchange = store(weights.exchange);
  }
  if (hyper.final_layer_norm) layers.back().final_norm = store(model.final_norm);
  energy = {store(model.energy_dense1), store(model.energy_dense2)};
  if (hyper.charge_head) charge = {store(model.charge_dense1), store(model.charge_dense2)};
  if (hyper.c6_head) c6 = {store(model.c6_dense1), store(model.c6_dense2)};
  if (!hyper.hirshfeld_head) return;
  hirshfeld = {store(model.hirshfeld_dense1), store(model.hirshfeld_dense2)};
  std::vector<double> query = model.hirshfeld_query.data;
  for (double& value : query) value /= std::sqrt(static_cast<double>(hyper.hirshfeld_size));
  hirshfeld_query = store(query);
}

template class NetworkWeights<float>;
template class NetworkWeights<double>;

}  // namespace so3md::cuda
