#include <algorithm>

#include "cuda/network/element_tables.h"
#include "network/radial_filter.h"
#include "network/spline_basis.h"

namespace so3md::cuda {

namespace {

template <class Real>
void upload(const so3md::Matrix& features, DeviceArray<Real>& to, const Stream& stream) {
  std::vector<Real> converted(features.data.size());
  std::transform(features.data.begin(), features.data.end(), converted.begin(), [](double value) { return static_cast<Real>(value); });
  to.upload(converted, stream);
  stream.synchronize();
}

}  // namespace

template <class Real>
void ElementTables<Real>::update(const Parameters<Real>& parameters, const NetworkLayout& layout, const Composition& composition,
                                 const Stream& stream) {
  if (num_species_ > 0 && composition == composition_) return;
  composition_ = composition;
  so3md::Matrix features = species_features(parameters.model(), composition);
  const bool changed = features.data != host_features_;
  num_species_ = features.rows;
  stream.synchronize();  // kernels may still read what is replaced
  if (changed) {
    host_features_ = features.data;
    upload(features, embedded_, stream);
  }
  if (parameters.model().hyper.residual_scalars) {
    const LayerWeights& first = parameters.model().layers.front();
    for (double& value : features.data) value *= first.input_scale + first.embedding_scale;
  }
  if (changed) upload(features, features_, stream);
  if (!parameters.first_layer_by_species) return;
  host_tables_.update(parameters, composition, features);
  const FirstLayer<Real> host = host_tables_.view(nullptr);
  const std::vector<const Real*> tables(host.tables, host.tables + num_species_ * num_species_);
  if (!changed && tables == uploaded_) return;
  uploaded_ = tables;
  upload_tables(parameters, layout, host, stream);
  upload_values(parameters, layout, host, stream);
}

// All tables behind each other, and where each begins.
template <class Real>
void ElementTables<Real>::upload_tables(const Parameters<Real>& parameters, const NetworkLayout&, const FirstLayer<Real>& host,
                                        const Stream& stream) {
  const RadialTable<Real>& table = parameters.layers.front().table;
  coordinate_ = {table.half, table.intervals_per_unit, table.intervals};
  stride_ = host.stride;
  const std::size_t size = static_cast<std::size_t>(table.intervals + kSplineRows - 1) * static_cast<std::size_t>(host.stride);
  std::vector<Real> rows;
  for (const Real* from : uploaded_)
    if (from != nullptr) rows.insert(rows.end(), from, from + size);
  rows_.upload(rows, stream);
  std::vector<const Real*> places;
  const Real* next = rows_.data();
  for (const Real* from : uploaded_) {
    places.push_back(from == nullptr ? nullptr : next);
    if (from != nullptr) next += size;
  }
  tables_.upload(places, stream);
  stream.synchronize();
}

// The values in lane order, and as matrices [head][channel of the head][species].
template <class Real>
void ElementTables<Real>::upload_values(const Parameters<Real>& parameters, const NetworkLayout& layout, const FirstLayer<Real>& host,
                                        const Stream& stream) {
  const Layout& from = parameters.layout;
  const HeadSplit& split = layout.feature_heads;
  head_width_ = split.width;
  std::vector<Real> values(static_cast<std::size_t>(num_species_ * layout.channels));
  std::vector<Real> matrices(static_cast<std::size_t>(layout.features * matrix_stride()));
  for (int species = 0; species < num_species_; ++species)
    for (int channel = 0; channel < layout.features; ++channel) {
      const Real value = host.values[species * from.features_padded + head_position(channel, from.head_width, from.head_padded)];
      const int position = lane_position(split, channel / split.width, channel % split.width);
      values[static_cast<std::size_t>(species * layout.channels + position)] = value;
      matrices[static_cast<std::size_t>(channel * matrix_stride() + species)] = value;
    }
  values_.upload(values, stream);
  value_matrix_.upload(matrices, stream);
  stream.synchronize();
}

template <class Real>
SpeciesView<Real> ElementTables<Real>::view(const int* species) const {
  return {num_species_, stride_, coordinate_, tables_.data(), features_.data(), values_.data(), species};
}

template class ElementTables<float>;
template class ElementTables<double>;

}  // namespace so3md::cuda
