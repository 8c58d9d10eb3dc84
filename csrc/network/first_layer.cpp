#include "network/first_layer.h"

#include <cmath>

#include "network/activation.h"
#include "network/radial_filter.h"
#include "network/spline_basis.h"

namespace so3md {

namespace {

// A norm without mean, of one head (eq. 93).
void normalise_head(double* head, int width, double epsilon) {
  double squares = 0.0;
  for (int e = 0; e < width; ++e) squares += head[e] * head[e];
  const double factor = 1.0 / std::sqrt(squares / width + epsilon);
  for (int e = 0; e < width; ++e) head[e] *= factor;
}

// One projection of a species' features, in head layout.
std::vector<double> project_species(const HeadMatrices& matrices, const Matrix& features, int species, int head_padded, Activation type) {
  std::vector<double> out(static_cast<std::size_t>(matrices.heads * head_padded));
  for (int head = 0; head < matrices.heads; ++head)
    for (int e = 0; e < matrices.width; ++e) {
      double sum = 0.0;
      for (int d = 0; d < matrices.width; ++d) sum += features(species, head * matrices.width + d) * matrices(head, d, e);
      out[static_cast<std::size_t>(head * head_padded + e)] = activate(type, sum);
    }
  return out;
}

// The same for a query or key.
std::vector<double> query_or_key(const HeadMatrices& matrices, const Matrix& features, int species, int head_padded,
                                 const NetworkOptions& options) {
  std::vector<double> out = project_species(matrices, features, species, head_padded, options.query_key_activation);
  if (!options.normalize_query_key) return out;
  for (int head = 0; head < matrices.heads; ++head)
    normalise_head(out.data() + head * head_padded, matrices.width, options.layer_norm_epsilon);
  return out;
}

// What the projections act on: the features, after the norm that a layer may
// have before them.
Matrix projected_features(const Hyperparameters& hyper, const LayerNormWeights& norm, const Matrix& features) {
  if (hyper.layer_norm_position != LayerNormPosition::pre || !hyper.layer_norm_1) return features;
  Matrix out = features;
  const auto width = static_cast<std::size_t>(features.cols);
  for (std::size_t begin = 0; begin < out.data.size(); begin += width) {
    double mean = 0.0, variance = 0.0;
    for (std::size_t f = 0; f < width && !hyper.rms_norm; ++f) mean += out.data[begin + f] / static_cast<double>(width);
    for (std::size_t f = 0; f < width; ++f) variance += std::pow(out.data[begin + f] - mean, 2) / static_cast<double>(width);
    for (std::size_t f = 0; f < width; ++f)
      out.data[begin + f] = (out.data[begin + f] - mean) / std::sqrt(variance + hyper.layer_norm_epsilon) * norm.scale[f] + norm.bias[f];
  }
  return out;
}

void append(std::vector<double>& to, const std::vector<double>& from) { to.insert(to.end(), from.begin(), from.end()); }

}  // namespace

template <class Real>
void FirstLayerTables<Real>::update(const Parameters<Real>& parameters, const Composition& composition, const Matrix& features) {
  if (num_species_ > 0 && composition == composition_) return;
  composition_ = composition;
  if (num_species_ == 0 || features.data != features_) set_features(parameters, features);
  for (int a = 0; a < num_species_; ++a)
    for (int b = 0; b < num_species_; ++b) {
      const auto first = static_cast<std::size_t>(a), second = static_cast<std::size_t>(b);
      const Real*& table = tables_[static_cast<std::size_t>(a * num_species_ + b)];
      if (table != nullptr || composition.counts[first] == 0.0 || composition.counts[second] == 0.0) continue;
      auto& rows = storage_.emplace_back();
      build_pair(parameters, queries_[first], keys_[second], rows);
      table = rows.data();
    }
}

// Forgets all tables.
template <class Real>
void FirstLayerTables<Real>::set_features(const Parameters<Real>& parameters, const Matrix& species_rows) {
  const Layout& layout = parameters.layout;
  const LayerWeights& weights = parameters.model().layers.front();
  const Matrix features = projected_features(parameters.model().hyper, weights.norm1, species_rows);
  features_ = species_rows.data;
  num_species_ = features.rows;
  stride_ = padded<Real>(layout.heads + layout.num_degrees);
  storage_.clear();
  tables_.assign(static_cast<std::size_t>(num_species_ * num_species_), nullptr);
  values_.assign(static_cast<std::size_t>(num_species_ * layout.features_padded), Real(0));
  queries_.clear();
  keys_.clear();
  for (int species = 0; species < num_species_; ++species) {
    queries_.push_back(query_or_key(weights.query_features, features, species, layout.head_padded, layout));
    append(queries_.back(), query_or_key(weights.query_coordinates, features, species, layout.coordinate_head_padded, layout));
    keys_.push_back(query_or_key(weights.key_features, features, species, layout.head_padded, layout));
    append(keys_.back(), query_or_key(weights.key_coordinates, features, species, layout.coordinate_head_padded, layout));
    const auto value = project_species(weights.value_features, features, species, layout.head_padded, Activation::identity);
    for (std::size_t c = 0; c < value.size(); ++c)
      values_[static_cast<std::size_t>(species * layout.features_padded) + c] = static_cast<Real>(value[c]);
  }
}

template <class Real>
void FirstLayerTables<Real>::build_pair(const Parameters<Real>& parameters, const std::vector<double>& query,
                                        const std::vector<double>& key, AlignedVector<Real>& rows) const {
  const Layout& layout = parameters.layout;
  const RadialTable<Real>& table = parameters.layers.front().table;
  const int count = table.intervals + kSplineRows - 1;
  rows.assign(static_cast<std::size_t>(count * stride_), Real(0));
  auto contract = [&](const Real* row, int begin, int length) {
    double sum = 0.0;
    for (int c = begin; c < begin + length; ++c) {
      const auto channel = static_cast<std::size_t>(c);
      sum += query[channel] * key[channel] * static_cast<double>(row[c]);
    }
    return sum;
  };
  for (int knot = 0; knot < count; ++knot) {
    const Real* row = table.rows + static_cast<std::ptrdiff_t>(knot) * table.columns;
    Real* out = rows.data() + static_cast<std::ptrdiff_t>(knot) * stride_;
    for (int head = 0; head < layout.heads; ++head)
      out[head] = static_cast<Real>(layout.features_normalizer * contract(row, head * layout.head_padded, layout.head_padded));
    for (int index = 0; index < layout.num_degrees; ++index)
      out[layout.heads + index] =
          static_cast<Real>(layout.coordinates_normalizer *
                            contract(row, layout.features_padded + index * layout.coordinate_head_padded, layout.coordinate_head_padded));
  }
}

template <class Real>
FirstLayer<Real> FirstLayerTables<Real>::view(const int* species) const {
  FirstLayer<Real> out;
  out.num_species = num_species_;
  out.stride = stride_;
  out.tables = tables_.data();
  out.values = values_.data();
  out.species = species;
  return out;
}

template class FirstLayerTables<float>;
template class FirstLayerTables<double>;

}  // namespace so3md
