// CudaNetwork: the attention of a layer, with the projections around it.
#include "cuda/network/network.h"

namespace so3md::cuda {

template <class Real>
AttentionStep<Real> CudaNetwork<Real>::attention_step(std::size_t layer) {
  Kept& kept = kept_[layer];
  AttentionStep<Real> step;
  step.layout = weights_.layout;
  step.harmonics = harmonics_;
  step.filter = weights_.layers[layer].filter;
  step.basis = weights_.radial_basis;
  if (is_by_species(layer)) step.species = species_.view(domain_.species);
  step.edges = edges_;
  step.n_owned = static_cast<int>(owned_);
  step.x = kept.x.data();
  step.projection = projection_.data();
  step.chi = kept.chi.data();
  step.x_attended = kept.x_attended.data();
  step.chi_attended = kept.chi_attended.data();
  step.gradient_attended = sums_.data();
  step.gradient_chi_attended = chi_sums_.data();
  step.gradient_chi = gradient_chi_.data();
  return step;
}

template <class Real>
void CudaNetwork<Real>::attend_boundary(int, std::size_t layer, DeviceHalo&, StageTimer&) {
  run_attention(stream_, is_by_species(layer) ? AttentionKernel::first_forward : AttentionKernel::forward, attention_step(layer));
}

template <class Real>
void CudaNetwork<Real>::attend_boundary_adjoint(int, std::size_t layer, DeviceHalo&, StageTimer&) {
  AttentionStep<Real> step = attention_step(layer);
  step.forces = forces_;
  step.virial = virial_;
  if (layer > 0) step.gradient_projection = gradient_projection_.data();
  run_attention(stream_, is_by_species(layer) ? AttentionKernel::first_adjoint : AttentionKernel::adjoint, step);
}

// chi before the first layer (eq. 53), where it does not start at zero.
template <class Real>
void CudaNetwork<Real>::initial_forward() {
  AttentionStep<Real> step = attention_step(0);
  step.filter = {};
  step.chi_attended = kept_[0].chi.data();
  run_attention(stream_, AttentionKernel::initial_forward, step);
}

template <class Real>
std::array<Rows<Real>, 1> CudaNetwork<Real>::initial_rows() {
  const NetworkLayout& layout = weights_.layout;
  return {{{kept_[0].chi.data(), layout.num_coordinates, layout.chi_stride}}};
}

template <class Real>
std::array<Rows<Real>, 1> CudaNetwork<Real>::initial_adjoint_rows() {
  const NetworkLayout& layout = weights_.layout;
  copy_on_device(chi_sums_.data(), gradient_chi_.data(), gradient_chi_.size() * sizeof(Real), stream_);
  return {{{chi_sums_.data(), layout.num_coordinates, layout.chi_stride}}};
}

// From the gradient on the coordinates before the first layer to forces.
template <class Real>
void CudaNetwork<Real>::initial_adjoint() {
  AttentionStep<Real> step = attention_step(0);
  step.filter = {};
  step.forces = forces_;
  step.virial = virial_;
  run_attention(stream_, AttentionKernel::initial_adjoint, step);
}

// Queries, keys or values of slots begin to end - 1, to column `offset` of rows of projections.
template <class Real>
void CudaNetwork<Real>::project_heads(const HeadMaps<Real>& maps, const HeadSplit& split, int first_part, int parts, bool activated,
                                      const Real* x, std::int64_t begin, std::int64_t end, int offset) {
  const NetworkLayout& layout = weights_.layout;
  Product<Real> p;
  p.a = x + begin * layout.feature_stride;
  p.a_stride = layout.feature_stride;
  p.matrix = maps.map.forward;
  p.matrix.weight += first_part * split.heads * maps.head_size;
  p.out = projection_.data() + begin * layout.projection_stride + offset;
  p.out_stride = layout.projection_stride;
  p.rows = end - begin;
  if (activated) p.out_activation = layout.query_key_activation;
  p.heads = split.heads;
  p.groups = parts;
  p.a_head = split.width;
  p.out_head = split.position;
  p.out_group = layout.channels;
  p.weight_head = maps.head_size;
  run_product(stream_, p);
}

// Rows [q, k, v, q', k'] (eq. 18) of slots begin to end - 1; without `activated` before the activation of queries and keys.
template <class Real>
void CudaNetwork<Real>::project(std::size_t layer, bool activated, std::int64_t begin, std::int64_t end) {
  if (begin == end || is_by_species(layer)) return;
  const NetworkLayout& layout = weights_.layout;
  const LayerMaps<Real>& maps = weights_.layers[layer];
  const Real* x = kept_[layer].x.data();
  if (layout.norm_input) {
    norm(maps.norm1, x + begin * layout.feature_stride, normalised_.data() + begin * layout.feature_stride, end - begin);
    x = normalised_.data();
  }
  if (!activated || layout.query_key_activation == Activation::identity) {
    project_heads(maps.features, layout.feature_heads, 0, 3, false, x, begin, end, 0);
  } else {
    project_heads(maps.features, layout.feature_heads, 0, 2, true, x, begin, end, 0);
    project_heads(maps.features, layout.feature_heads, 2, 1, false, x, begin, end, 2 * layout.channels);
  }
  project_heads(maps.coordinates, layout.degree_heads, 0, 2, activated, x, begin, end, 3 * layout.channels);
  if (activated && layout.normalize_query_key)
    launch_rows(stream_, normalise_queries_and_keys<Real>, end - begin, layout, end - begin,
                projection_.data() + begin * layout.projection_stride);
}

// From gradient_projection_ to gradient_x_, which holds what goes past the attention. Below the first layer is nothing that moves.
template <class Real>
void CudaNetwork<Real>::project_adjoint(std::size_t layer) {
  if (layer == 0) return;
  const NetworkLayout& layout = weights_.layout;
  const LayerMaps<Real>& maps = weights_.layers[layer];
  const int stride = layout.feature_stride;
  const bool activated = layout.query_key_activation != Activation::identity;
  if (activated || layout.normalize_query_key) project(layer, false, 0, owned_);
  if (layout.normalize_query_key)
    launch_rows(stream_, normalise_adjoint<Real>, owned_, layout, owned_, static_cast<const Real*>(projection_.data()),
                gradient_projection_.data());
  if (activated) {
    launch_rows(stream_, query_key_adjoint<Real>, owned_, layout, owned_, static_cast<const Real*>(projection_.data()),
                gradient_projection_.data());
  }
  Real* to = layout.norm_input ? normalised_.data() : gradient_x_.data();
  const auto add = [&](const HeadMaps<Real>& heads, const HeadSplit& split, int offset, const Real* residual) {
    Product<Real> p;
    p.a = gradient_projection_.data() + offset;
    p.a_stride = layout.projection_stride;
    p.matrix = heads.map.adjoint;
    p.out = to;
    p.out_stride = p.residual_stride = stride;
    p.residual = residual;
    p.rows = owned_;
    p.parts = heads.parts;
    p.heads = split.heads;
    p.a_part = layout.channels;
    p.a_head = split.position;
    p.out_head = split.width;
    p.weight_part = split.heads * heads.head_size;
    p.weight_head = heads.head_size;
    run_product(stream_, p);
  };
  add(maps.features, layout.feature_heads, 0, layout.norm_input ? nullptr : to);
  add(maps.coordinates, layout.degree_heads, 3 * layout.channels, to);
  if (layout.norm_input) norm_adjoint(maps.norm1, kept_[layer].x.data(), to, stride, gradient_x_.data(), gradient_x_.data());
}

// In a first layer by species, all that its adjoint needs of dE/d(x_attended): the products of each head with the values of all species.
template <class Real>
void CudaNetwork<Real>::gradient_on_values() {
  const NetworkLayout& layout = weights_.layout;
  Product<Real> p;
  p.a = gradient_x_.data();
  p.a_stride = layout.feature_stride;
  p.matrix = species_.value_matrix();
  p.out = sums_.data();
  p.out_stride = gradient_on_values_width();
  p.rows = owned_;
  p.heads = layout.feature_heads.heads;
  p.a_head = layout.feature_heads.width;
  p.out_head = p.matrix.columns;
  p.weight_head = species_.value_matrix_size();
  run_product(stream_, p);
}

#define SO3MD_INSTANTIATE(Real)                                                                         \
  template AttentionStep<Real> CudaNetwork<Real>::attention_step(std::size_t);                          \
  template void CudaNetwork<Real>::attend_boundary(int, std::size_t, DeviceHalo&, StageTimer&);         \
  template void CudaNetwork<Real>::attend_boundary_adjoint(int, std::size_t, DeviceHalo&, StageTimer&); \
  template void CudaNetwork<Real>::initial_forward();                                                   \
  template std::array<Rows<Real>, 1> CudaNetwork<Real>::initial_rows();                                 \
  template std::array<Rows<Real>, 1> CudaNetwork<Real>::initial_adjoint_rows();                         \
  template void CudaNetwork<Real>::initial_adjoint();                                                   \
  template void CudaNetwork<Real>::project(std::size_t, bool, std::int64_t, std::int64_t);              \
  template void CudaNetwork<Real>::project_adjoint(std::size_t);                                        \
  template void CudaNetwork<Real>::gradient_on_values();
SO3MD_INSTANTIATE(float)
SO3MD_INSTANTIATE(double)
#undef SO3MD_INSTANTIATE

}  // namespace so3md::cuda
