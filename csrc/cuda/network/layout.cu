#include <algorithm>
#include <bit>
#include <cmath>
#include <string>

#include "cuda/network/layout.h"
#include "model/model.h"

namespace so3md::cuda {

namespace {

// Empty (no lanes) if the heads do not fit.
HeadSplit split_heads(int heads, int width, int passes) {
  const int per_lane = kQuad * passes;
  const unsigned lanes = std::bit_ceil(static_cast<unsigned>((width + per_lane - 1) / per_lane));
  if (heads * static_cast<int>(lanes) > kWarp) return {};
  return {heads, width, static_cast<int>(lanes), static_cast<int>(lanes) * per_lane};
}

void set_heads(const Hyperparameters& hyper, NetworkLayout& out) {
  for (int passes = 1; passes <= kMostPasses; passes *= 2) {
    out.passes = passes;
    out.feature_heads = split_heads(hyper.num_heads, hyper.num_features / hyper.num_heads, passes);
    out.degree_heads = split_heads(hyper.num_degrees(), hyper.num_features / hyper.num_degrees(), passes);
    if (out.feature_heads.lanes > 0 && out.degree_heads.lanes > 0) return;
  }
  throw ModelError("the model has num_features = " + std::to_string(hyper.num_features) +
                   " in num_heads = " + std::to_string(hyper.num_heads) + " heads and " + std::to_string(hyper.num_degrees()) +
                   " degrees: on a GPU every head is padded to a power of two of at least 4 channels, and all heads together to at most " +
                   std::to_string(kWarp * kQuad * kMostPasses) + " channels (at most 32 heads); use device='cpu'");
}

}  // namespace

NetworkLayout make_network_layout(const Hyperparameters& hyper, const Layout& host, bool tabulated) {
  NetworkLayout out;
  static_cast<NetworkOptions&>(out) = host;
  set_heads(hyper, out);
  out.features = hyper.num_features;
  out.feature_stride = round_up(out.features, kQuad);
  out.channels = kWarp * kQuad * out.passes;
  out.num_degrees = host.num_degrees;
  out.max_degree = hyper.degrees.back();
  if (host.num_coordinates > kMostCoordinates)
    throw ModelError("the model has " + std::to_string(host.num_coordinates) +
                     " spherical harmonic coordinates: on a GPU there are at most " + std::to_string(kMostCoordinates) +
                     "; use device='cpu'");
  for (int index = 0; index < host.num_degrees; ++index) {
    out.degree[index] = host.degree[index];
    out.degree_offset[index] = host.degree_offset[index];
    out.invariant_norm[index] = 1.0 / std::sqrt(2.0 * host.degree[index] + 1.0);
    const int l = host.degree[index];
    if (out.copies_of_degree[l]++ == 0) out.offset_of_degree[l] = host.degree_offset[index];
    for (int m = 0; m <= 2 * host.degree[index]; ++m) out.degree_index[host.degree_offset[index] + m] = static_cast<unsigned char>(index);
  }
  out.num_coordinates = host.num_coordinates;
  out.chi_stride = round_up(host.num_coordinates, kQuad);
  out.projection_stride = 5 * out.channels;
  out.exchange_stride = round_up(out.features + out.num_degrees, kQuad);

  out.spherical_hidden = hyper.spherical_hidden;
  out.radial_hidden = tabulated ? 0 : hyper.radial_hidden;
  out.num_radial = tabulated ? 0 : hyper.num_radial;
  out.hidden = out.spherical_hidden + out.radial_hidden;
  out.hidden_rows = round_up(out.hidden, kWarp);
  out.filter_stride = out.channels + kQuad;
  return out;
}

}  // namespace so3md::cuda
