#include <algorithm>
#include <utility>

#include "cuda/network/network.h"
#include "network/harmonics_table.h"

namespace so3md::cuda {

template <class Real>
CudaNetwork<Real>::CudaNetwork(std::shared_ptr<const Parameters<Real>> parameters, const Stream& stream)
    : parameters_(std::move(parameters)),
      stream_(stream),
      weights_(*parameters_, stream),
      harmonics_(make_harmonics_table<Real>(parameters_->model().hyper)),
      kept_(weights_.layers.size()) {
  check_attention<Real>(weights_.layout);
}

// What stands behind the last channel of a head, or of a row, is never written, and has to be zero.
template <class Real>
void CudaNetwork<Real>::resize_rows(DeviceArray<Real>& array, std::int64_t rows, int stride) {
  const std::size_t before = array.bytes();
  array.resize(static_cast<std::size_t>(rows) * static_cast<std::size_t>(stride));
  if (array.bytes() != before) set_bytes(array.data(), 0, array.bytes(), stream_);
}

template <class Real>
void CudaNetwork<Real>::allocate() {
  const NetworkLayout& layout = weights_.layout;
  const int f = layout.feature_stride;
  const bool three =
      weights_.layers.front().mlp1.dense3.forward.weight != nullptr || weights_.layers.front().mlp2.dense3.forward.weight != nullptr;
  for (std::size_t layer = 0; layer < kept_.size(); ++layer) {
    Kept& kept = kept_[layer];
    if (!is_by_species(layer)) resize_rows(kept.x, slots_, f);
    if (!is_by_species(layer)) resize_rows(kept.chi, slots_, layout.chi_stride);
    resize_rows(kept.x_attended, owned_, f);
    resize_rows(kept.chi_attended, owned_, layout.chi_stride);
    resize_rows(kept.scale, owned_, layout.num_degrees);
    if (layout.residual_mlp_1) resize_rows(kept.mlp1_inner, owned_, f);
    if (layout.residual_mlp_1 && three) resize_rows(kept.mlp1_outer, owned_, f);
    if (layout.residual_mlp_1 && layout.norm_exchange) resize_rows(kept.exchange_input, owned_, f);
    if (layout.residual_mlp_2) resize_rows(kept.mlp2_input, owned_, f);
    if (layout.residual_mlp_2) resize_rows(kept.mlp2_inner, owned_, f);
    if (layout.residual_mlp_2 && three) resize_rows(kept.mlp2_outer, owned_, f);
    if (normalises_output(layer)) resize_rows(kept.output, owned_, f);
  }
  resize_rows(projection_, slots_, layout.projection_stride);
  resize_rows(sums_, slots_, std::max(layout.channels, gradient_on_values_width()));
  resize_rows(chi_sums_, slots_, layout.chi_stride);
  resize_rows(gradient_x_, owned_, f);
  resize_rows(gradient_chi_, owned_, layout.chi_stride);
  if (layout.norm_input) resize_rows(normalised_, slots_, f);
  if (three) resize_rows(other_rows_, owned_, f);
  const Hyperparameters& hyper = parameters_->model().hyper;
  const int widest = round_up(std::max({layout.exchange_stride, hyper.energy_hidden, hyper.charge_hidden, hyper.hirshfeld_hidden,
                                        hyper.hirshfeld_size, hyper.c6_hidden}),
                              kQuad);
  resize_rows(gradient_projection_, owned_, std::max(layout.projection_stride, 2 * widest + f));
  wide_in_ = gradient_projection_.data();
  wide_out_ = wide_in_ + owned_ * widest;
  rows_ = wide_out_ + owned_ * widest;
}

template <class Real>
void CudaNetwork<Real>::forward(const DeviceDomain& domain, const DeviceEdges<Real>& edges, const Composition& composition,
                                DeviceHalo& halo, const DeviceReadouts& out, StageTimer& timer, std::vector<LayerFeatures>* features) {
  domain_ = domain;
  edges_ = edges;
  owned_ = domain.n_owned;
  slots_ = domain.n_feature_slots();
  allocate();
  const NetworkLayout& layout = weights_.layout;
  species_.update(*parameters_, layout, composition, stream_);
  if (!is_by_species(0)) {
    launch_rows(stream_, embed_species<Real>, slots_, layout, slots_, domain_.species, species_.features(), kept_[0].x.data());
    kept_[0].chi.clear(stream_);
  }
  timer.lap("embedding");
  LayerOrder::forward(*this, halo, timer, features);
  readout(weights_.energy, parameters_->layout.energy_activation, nullptr, out.energy);
  if (weights_.charge.exists()) readout(weights_.charge, Activation::silu, nullptr, out.charge);
  if (weights_.hirshfeld.exists()) readout(weights_.hirshfeld, Activation::silu, weights_.hirshfeld_query, out.hirshfeld);
  if (weights_.c6.exists()) readout(weights_.c6, Activation::silu, nullptr, out.c6);
  timer.lap("readouts");
}

template <class Real>
void CudaNetwork<Real>::adjoint(const DeviceReadouts& gradients, DeviceHalo& halo, double* forces, double* virial, StageTimer& timer) {
  gradient_x_.clear(stream_);
  gradient_chi_.clear(stream_);
  readout_adjoint(weights_.energy, parameters_->layout.energy_activation, nullptr, gradients.energy);
  if (weights_.charge.exists()) readout_adjoint(weights_.charge, Activation::silu, nullptr, gradients.charge);
  if (weights_.hirshfeld.exists()) readout_adjoint(weights_.hirshfeld, Activation::silu, weights_.hirshfeld_query, gradients.hirshfeld);
  if (weights_.c6.exists()) readout_adjoint(weights_.c6, Activation::silu, nullptr, gradients.c6);
  timer.lap("readouts");
  forces_ = forces;
  virial_ = virial;
  LayerOrder::adjoint(*this, halo, timer);
}

template <class Real>
std::array<Rows<Real>, 2> CudaNetwork<Real>::forward_rows(std::size_t layer) {
  const NetworkLayout& layout = weights_.layout;
  return {{{x_out(layer), layout.features, layout.feature_stride}, {chi_out(layer), layout.num_coordinates, layout.chi_stride}}};
}

template <class Real>
std::array<Rows<Real>, 2> CudaNetwork<Real>::adjoint_rows(std::size_t layer) {
  const NetworkLayout& layout = weights_.layout;
  const int width = is_by_species(layer) ? gradient_on_values_width() : layout.channels;
  return {{{sums_.data(), width, width}, {chi_sums_.data(), layout.num_coordinates, layout.chi_stride}}};
}

template <class Real>
void CudaNetwork<Real>::record(int number, LayerFeatures& to) {
  const std::size_t layer = index_of(number);
  const NetworkLayout& layout = weights_.layout;
  const auto copy = [&](const Real* from, int width, int stride) {
    std::vector<Real> rows(index_of(owned_) * index_of(stride));
    copy_to_host(rows.data(), from, rows.size() * sizeof(Real), stream_);
    stream_.synchronize();
    return without_padding(rows.data(), static_cast<int>(owned_), width, stride);
  };
  const auto features = [&](const Real* from) { return copy(from, layout.features, layout.feature_stride); };
  const auto coordinates = [&](const Real* from) { return copy(from, layout.num_coordinates, layout.chi_stride); };
  const Kept& kept = kept_[layer];
  if (is_by_species(layer)) {  // not kept
    launch_rows(stream_, embed_species<Real>, owned_, layout, owned_, domain_.species, species_.features(), rows_);
    to.x_in = features(rows_);
    to.chi_in.assign(index_of(owned_ * layout.num_coordinates), 0.0);
  } else {
    to.x_in = features(kept.x.data());
    to.chi_in = coordinates(kept.chi.data());
  }
  to.x_attended = features(kept.x_attended.data());
  to.chi_attended = coordinates(kept.chi_attended.data());
  to.x_out = features(x_out(layer));
  to.chi_out = coordinates(chi_out(layer));
}

// --- readouts ---

template <class Real>
ReadoutRows<Real> CudaNetwork<Real>::readout_rows(const ReadoutMaps<Real>& head, const Real* query) const {
  return {owned_, head.dense2.forward.columns, head.dense2.forward.stride, domain_.species, query};
}

template <class Real>
void CudaNetwork<Real>::readout(const ReadoutMaps<Real>& head, Activation activation, const Real* query, double* values) {
  if (values == nullptr) return;
  const Real* x = x_last();
  int stride = weights_.layout.feature_stride;
  Product<Real> second;
  if (head.hidden()) {
    product(head.dense1.forward, x, stride, wide_in_, head.dense1.forward.stride);
    x = wide_in_;
    stride = head.dense1.forward.stride;
    second.in_activation = activation;
  }
  product(head.dense2.forward, x, stride, wide_out_, head.dense2.forward.stride, second);
  launch_rows(stream_, reduce_outputs<Real>, owned_, readout_rows(head, query), static_cast<const Real*>(wide_out_), values);
}

// Adds to gradient_x_.
template <class Real>
void CudaNetwork<Real>::readout_adjoint(const ReadoutMaps<Real>& head, Activation activation, const Real* query, const double* gradients) {
  if (gradients == nullptr) return;
  const int stride = weights_.layout.feature_stride;
  launch_rows(stream_, spread_gradients<Real>, owned_, readout_rows(head, query), gradients, wide_out_);
  Product<Real> added;
  added.residual = gradient_x_.data();
  added.residual_stride = stride;
  if (!head.hidden()) {
    product(head.dense2.adjoint, wide_out_, head.dense2.forward.stride, gradient_x_.data(), stride, added);
    return;
  }
  const int hidden_stride = head.dense1.forward.stride;
  product(head.dense1.forward, x_last(), stride, wide_in_, hidden_stride);
  Product<Real> with_slope;
  with_slope.slope_of = wide_in_;
  with_slope.slope_stride = hidden_stride;
  with_slope.slope_activation = activation;
  product(head.dense2.adjoint, wide_out_, head.dense2.forward.stride, wide_in_, hidden_stride, with_slope);
  product(head.dense1.adjoint, wide_in_, hidden_stride, gradient_x_.data(), stride, added);
}

template class CudaNetwork<float>;
template class CudaNetwork<double>;

}  // namespace so3md::cuda
