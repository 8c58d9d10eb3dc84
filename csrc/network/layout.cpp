#include "network/layout.h"

#include <cmath>

namespace so3md {

namespace {

template <class Real>
NodeRecordLayout make_record(const Layout& layout, ResidualMlpKind kind) {
  NodeRecordLayout out;
  const auto take = [&out](int width, bool needed = true) {
    const int at = out.size;
    if (needed) out.size += padded<Real>(kNodeBlock * width);
    return at;
  };
  const bool three = kind == ResidualMlpKind::three_layers;
  out.output = take(layout.feature_stride);
  out.exchange_input = take(layout.feature_stride, layout.norm_exchange);
  out.mlp1_inner = take(layout.feature_stride, layout.residual_mlp_1);
  out.mlp1_outer = take(layout.feature_stride, layout.residual_mlp_1 && three);
  out.mlp2_input = take(layout.feature_stride, layout.residual_mlp_2);
  out.mlp2_inner = take(layout.feature_stride, layout.residual_mlp_2);
  out.mlp2_outer = take(layout.feature_stride, layout.residual_mlp_2 && three);
  out.scale = take(layout.num_degrees);
  return out;
}

}  // namespace

template <class Real>
Layout make_layout(const Hyperparameters& hyper) {
  Layout out;
  out.features = hyper.num_features;
  out.heads = hyper.num_heads;
  out.head_width = hyper.num_features / hyper.num_heads;
  out.head_padded = padded<Real>(out.head_width);
  out.features_padded = out.heads * out.head_padded;
  // The adjoint of a projection adds whole panels; behind the last head that reaches into the row's end.
  const bool partial_heads = out.head_width % kPanel<Real> != 0;
  out.num_degrees = hyper.num_degrees();
  out.coordinate_head_width = hyper.num_features / out.num_degrees;
  out.coordinate_head_padded = padded<Real>(out.coordinate_head_width);
  out.coordinates_padded = out.num_degrees * out.coordinate_head_padded;
  const bool partial_coordinate_heads = out.coordinate_head_width % kPanel<Real> != 0;
  out.feature_stride = padded<Real>(out.features) + (partial_heads || partial_coordinate_heads ? kPanel<Real> : 0);

  int offset = 0;
  for (int index = 0; index < out.num_degrees; ++index) {
    out.degree[index] = hyper.degrees[static_cast<std::size_t>(index)];
    out.degree_offset[index] = offset;
    out.invariant_norm[index] = 1.0 / std::sqrt(2.0 * out.degree[index] + 1.0);
    offset += 2 * out.degree[index] + 1;
  }
  out.num_coordinates = offset;
  out.chi_stride = padded<Real>(offset);

  out.query_offset = 0;
  out.key_offset = out.features_padded;
  out.value_offset = 2 * out.features_padded;
  out.coordinate_query_offset = 3 * out.features_padded;
  out.coordinate_key_offset = 3 * out.features_padded + out.coordinates_padded;
  out.factor_offset = 3 * out.features_padded + 2 * out.coordinates_padded;
  out.projection_stride = out.factor_offset + (hyper.normalize_query_key ? padded<Real>(2 * (out.heads + out.num_degrees)) : 0);

  out.spherical_hidden = padded<Real>(hyper.spherical_hidden);
  out.kept_size = out.features_padded + out.coordinates_padded + 2 * out.spherical_hidden;
  out.radial_hidden = padded<Real>(hyper.radial_hidden);
  out.num_radial = hyper.num_radial;
  out.radial_stride = padded<Real>(hyper.num_radial);
  out.exchange_stride = padded<Real>(out.features + out.num_degrees);
  out.energy_hidden = padded<Real>(hyper.energy_hidden);
  out.charge_hidden = padded<Real>(hyper.charge_hidden);
  out.hirshfeld_hidden = padded<Real>(hyper.hirshfeld_hidden);
  out.c6_hidden = padded<Real>(hyper.c6_hidden);
  out.hirshfeld_size = padded<Real>(hyper.hirshfeld_size);

  out.activation = hyper.activation;
  out.query_key_activation = hyper.query_key_activation;
  out.energy_activation = hyper.energy_activation;
  switch (hyper.attention_normalization) {
    case AttentionNormalization::constant:
      out.features_normalizer = out.coordinates_normalizer = 1.0 / hyper.attention_normalizer;
      break;
    case AttentionNormalization::sqrt_head_width:
      out.features_normalizer = 1.0 / std::sqrt(static_cast<double>(out.head_width));
      out.coordinates_normalizer = 1.0 / std::sqrt(static_cast<double>(out.coordinate_head_width));
      break;
    case AttentionNormalization::none:
      break;
  }
  if (hyper.initial_coordinates == InitialCoordinates::neighbour_sum) out.initial_scale = 1.0 / hyper.initial_coordinates_normalizer;
  const bool pre = hyper.layer_norm_position == LayerNormPosition::pre;
  out.norm_input = pre && hyper.layer_norm_1;
  out.norm_attended = !pre && hyper.layer_norm_1;
  out.norm_exchange = pre && hyper.layer_norm_2;
  out.norm_output = !pre && hyper.layer_norm_2;
  out.layer_norm_epsilon = hyper.layer_norm_epsilon;
  out.rms_norm = hyper.rms_norm;
  out.normalize_query_key = hyper.normalize_query_key;
  out.residual_mlp_1 = hyper.residual_mlp_1;
  out.residual_mlp_2 = hyper.residual_mlp_2;
  out.record = make_record<Real>(out, hyper.residual_mlp_kind);
  return out;
}

template Layout make_layout<float>(const Hyperparameters&);
template Layout make_layout<double>(const Hyperparameters&);

}  // namespace so3md
