// CudaNetwork: what a layer does to each atom by itself: layer norms, residual MLPs and the exchange block (eq. 23-25, 54).
#include <utility>

#include "cuda/network/network.h"

namespace so3md::cuda {

template <class Real>
void CudaNetwork<Real>::product(const DeviceMatrix<Real>& matrix, const Real* a, int a_stride, Real* out, int out_stride,
                                Product<Real> options) {
  options.a = a;
  options.a_stride = a_stride;
  options.matrix = matrix;
  options.out = out;
  options.out_stride = out_stride;
  options.rows = owned_;
  run_product(stream_, options);
}

template <class Real>
void CudaNetwork<Real>::norm(const NormWeights<Real>& weights, const Real* x, Real* out, std::int64_t rows) {
  const NetworkLayout& layout = weights_.layout;
  const NormStep<Real> step{layout.features, layout.feature_stride, static_cast<Real>(layout.layer_norm_epsilon), layout.rms_norm, weights};
  launch_rows(stream_, layer_norm<Real>, rows, step, rows, x, out);
}

template <class Real>
void CudaNetwork<Real>::norm_adjoint(const NormWeights<Real>& weights, const Real* x, const Real* gradient, int stride,
                                     const Real* residual, Real* out) {
  const NetworkLayout& layout = weights_.layout;
  const NormStep<Real> step{layout.features, layout.feature_stride, static_cast<Real>(layout.layer_norm_epsilon), layout.rms_norm, weights};
  launch_rows(stream_, layer_norm_adjoint<Real>, owned_, step, owned_, x, gradient, stride, residual, out);
}

// out = x + dense2 act(dense1 act(x)), and with three layers dense3 act of that. `out` may be x.
template <class Real>
void CudaNetwork<Real>::residual_forward(const ResidualMaps<Real>& maps, const Real* x, Real* inner, Real* outer, Real* out) {
  const int stride = weights_.layout.feature_stride;
  const bool three = maps.dense3.forward.weight != nullptr;
  Product<Real> activated;
  activated.in_activation = weights_.layout.activation;
  product(maps.dense1.forward, x, stride, inner, stride, activated);
  Product<Real> added = activated;
  added.residual = x;
  added.residual_stride = stride;
  product(maps.dense2.forward, inner, stride, three ? outer : out, stride, added);
  if (three) product(maps.dense3.forward, outer, stride, out, stride, activated);
}

// gradient_x_ becomes that of x, from what residual_forward kept.
template <class Real>
void CudaNetwork<Real>::residual_adjoint(const ResidualMaps<Real>& maps, const Real* x, const Real* inner, const Real* outer) {
  const int stride = weights_.layout.feature_stride;
  const auto slope = [&](const Real* of) {
    Product<Real> options;
    options.slope_of = of;
    options.slope_stride = stride;
    options.slope_activation = weights_.layout.activation;
    return options;
  };
  if (maps.dense3.forward.weight != nullptr) {
    product(maps.dense3.adjoint, gradient_x_.data(), stride, other_rows_.data(), stride, slope(outer));
    std::swap(gradient_x_, other_rows_);
  }
  product(maps.dense2.adjoint, gradient_x_.data(), stride, wide_out_, stride, slope(inner));
  Product<Real> added = slope(x);
  added.residual = gradient_x_.data();
  added.residual_stride = stride;
  product(maps.dense1.adjoint, wide_out_, stride, gradient_x_.data(), stride, added);
}

template <class Real>
Real* CudaNetwork<Real>::x_out(std::size_t layer) {
  return is_last(layer) ? x_last() : kept_[layer + 1].x.data();
}

template <class Real>
Real* CudaNetwork<Real>::chi_out(std::size_t layer) {
  return is_last(layer) ? chi_sums_.data() : kept_[layer + 1].chi.data();
}

template <class Real>
bool CudaNetwork<Real>::normalises_output(std::size_t layer) const {
  return weights_.layout.norm_output || weights_.layers[layer].final_norm.scale != nullptr;
}

// What the blocks of a layer begin with: x_attended, or in rows_ that after a norm.
template <class Real>
const Real* CudaNetwork<Real>::block_input(std::size_t layer) {
  if (!weights_.layout.norm_attended) return kept_[layer].x_attended.data();
  norm(weights_.layers[layer].norm1, kept_[layer].x_attended.data(), rows_, owned_);
  return rows_;
}

// What the exchange block acts on, before its norm, when node_forward is done: kept only where a norm needs it.
template <class Real>
const Real* CudaNetwork<Real>::exchange_source(std::size_t layer) const {
  return weights_.layout.residual_mlp_1 ? kept_[layer].exchange_input.data() : kept_[layer].x_attended.data();
}

template <class Real>
ExchangeStep<Real> CudaNetwork<Real>::exchange_step(std::size_t layer) {
  ExchangeStep<Real> step;
  step.rows = owned_;
  step.chi_attended = kept_[layer].chi_attended.data();
  step.in = wide_in_;
  step.out = wide_out_;
  step.scale = kept_[layer].scale.data();
  step.chi_next = chi_out(layer);
  step.gradient_chi = gradient_chi_.data();
  step.gradient_chi_attended = chi_sums_.data();
  return step;
}

// to = x + a, where the exchange block makes a and b of x and the invariants of chi. `to` may be x.
template <class Real>
void CudaNetwork<Real>::exchange_forward(std::size_t layer, const Real* x, Real* to) {
  const NetworkLayout& layout = weights_.layout;
  const LayerMaps<Real>& maps = weights_.layers[layer];
  ExchangeStep<Real> step = exchange_step(layer);
  step.x = x;
  if (layout.norm_exchange) {
    norm(maps.norm2, x, rows_, owned_);
    step.x = rows_;
  }
  launch_rows(stream_, exchange_input<Real>, owned_, layout, step);
  product(maps.exchange.forward, wide_in_, layout.exchange_stride, wide_out_, layout.exchange_stride);
  step.residual = x;
  step.x_out = to;
  launch_rows(stream_, exchange_output<Real>, owned_, layout, step);
}

// Whether the next layer starts with a mixture of what comes out of this one and the embedding (eq. 94).
template <class Real>
bool CudaNetwork<Real>::mixes_embedding(std::size_t layer) const {
  return parameters_->model().hyper.residual_scalars && !is_last(layer);
}

template <class Real>
void CudaNetwork<Real>::mix(std::size_t layer, const Real* table, Real* x) {
  const LayerParameters<Real>& host = parameters_->layers[layer];
  launch_rows(stream_, mix_embedding<Real>, owned_, weights_.layout, owned_, domain_.species, table, host.next_input_scale,
              host.next_embedding_scale, x);
}

template <class Real>
void CudaNetwork<Real>::node_forward(std::size_t layer) {
  const NetworkLayout& layout = weights_.layout;
  const LayerMaps<Real>& maps = weights_.layers[layer];
  Kept& kept = kept_[layer];
  const Real* x = block_input(layer);
  if (layout.residual_mlp_1) {
    Real* to = layout.norm_exchange ? kept.exchange_input.data() : rows_;
    residual_forward(maps.mlp1, x, kept.mlp1_inner.data(), kept.mlp1_outer.data(), to);
    x = to;
  }
  Real* last = normalises_output(layer) ? kept.output.data() : x_out(layer);
  exchange_forward(layer, x, layout.residual_mlp_2 ? kept.mlp2_input.data() : last);
  if (layout.residual_mlp_2) residual_forward(maps.mlp2, kept.mlp2_input.data(), kept.mlp2_inner.data(), kept.mlp2_outer.data(), last);
  if (layout.norm_output) norm(maps.norm2, kept.output.data(), x_out(layer), owned_);
  if (maps.final_norm.scale != nullptr) norm(maps.final_norm, layout.norm_output ? x_out(layer) : kept.output.data(), x_out(layer), owned_);
  if (mixes_embedding(layer)) mix(layer, species_.embedded(), x_out(layer));
}

// gradient_x_ (dE/dx_next) becomes that of what came out of the last block.
template <class Real>
void CudaNetwork<Real>::output_norms_adjoint(std::size_t layer) {
  const NetworkLayout& layout = weights_.layout;
  const LayerMaps<Real>& maps = weights_.layers[layer];
  const Real* output = kept_[layer].output.data();
  if (maps.final_norm.scale != nullptr) {
    if (layout.norm_output) norm(maps.norm2, output, rows_, owned_);
    norm_adjoint(maps.final_norm, layout.norm_output ? rows_ : output, gradient_x_.data(), layout.feature_stride, nullptr,
                 gradient_x_.data());
  }
  if (layout.norm_output) norm_adjoint(maps.norm2, output, gradient_x_.data(), layout.feature_stride, nullptr, gradient_x_.data());
}

// The exchange block backwards: gradient_x_ gains what came back to x, and chi_sums_ is set.
template <class Real>
void CudaNetwork<Real>::exchange_adjoint(std::size_t layer) {
  const NetworkLayout& layout = weights_.layout;
  const LayerMaps<Real>& maps = weights_.layers[layer];
  ExchangeStep<Real> step = exchange_step(layer);
  step.x = gradient_x_.data();
  launch_rows(stream_, exchange_output_adjoint<Real>, owned_, layout, step);
  product(maps.exchange.adjoint, wide_in_, layout.exchange_stride, wide_out_, layout.exchange_stride);
  if (!layout.norm_exchange) step.residual = step.x_out = gradient_x_.data();
  launch_rows(stream_, exchange_input_adjoint<Real>, owned_, layout, step);
  if (layout.norm_exchange)
    norm_adjoint(maps.norm2, exchange_source(layer), wide_out_, layout.exchange_stride, gradient_x_.data(), gradient_x_.data());
}

// From gradient_x_ and gradient_chi_ of the layer's output to sums_ and chi_sums_; gradient_x_ is
// dE/d(x_attended).
template <class Real>
void CudaNetwork<Real>::node_adjoint(std::size_t layer) {
  const NetworkLayout& layout = weights_.layout;
  const LayerMaps<Real>& maps = weights_.layers[layer];
  const Kept& kept = kept_[layer];
  if (mixes_embedding(layer)) mix(layer, nullptr, gradient_x_.data());
  output_norms_adjoint(layer);
  if (layout.residual_mlp_2) residual_adjoint(maps.mlp2, kept.mlp2_input.data(), kept.mlp2_inner.data(), kept.mlp2_outer.data());
  exchange_adjoint(layer);
  if (layout.residual_mlp_1) residual_adjoint(maps.mlp1, block_input(layer), kept.mlp1_inner.data(), kept.mlp1_outer.data());
  if (layout.norm_attended)
    norm_adjoint(maps.norm1, kept.x_attended.data(), gradient_x_.data(), layout.feature_stride, nullptr, gradient_x_.data());
  if (is_by_species(layer))
    gradient_on_values();
  else
    launch_rows(stream_, to_lane_order<Real>, owned_, layout, owned_, static_cast<const Real*>(gradient_x_.data()), sums_.data());
}

#define SO3MD_INSTANTIATE(Real)                                                                                               \
  template void CudaNetwork<Real>::product(const DeviceMatrix<Real>&, const Real*, int, Real*, int, Product<Real>);           \
  template void CudaNetwork<Real>::norm(const NormWeights<Real>&, const Real*, Real*, std::int64_t);                          \
  template void CudaNetwork<Real>::norm_adjoint(const NormWeights<Real>&, const Real*, const Real*, int, const Real*, Real*); \
  template Real* CudaNetwork<Real>::x_out(std::size_t);                                                                       \
  template Real* CudaNetwork<Real>::chi_out(std::size_t);                                                                     \
  template bool CudaNetwork<Real>::normalises_output(std::size_t) const;                                                      \
  template void CudaNetwork<Real>::node_forward(std::size_t);                                                                 \
  template void CudaNetwork<Real>::node_adjoint(std::size_t);
SO3MD_INSTANTIATE(float)
SO3MD_INSTANTIATE(double)
#undef SO3MD_INSTANTIATE

}  // namespace so3md::cuda
