#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numbers>

#include "common/index.h"
#include "cuda/network/filter_table.h"
#include "network/radial_filter.h"
#include "network/radial_table.h"

namespace so3md::cuda {

namespace {

// Bases such as sin(k r)/r are smooth at the origin but cannot be evaluated there.
constexpr double kSmallestDistance = 1e-6;
constexpr int kCoefficients = 4;

// Columns of the host's rows, in the order of the device's; -1 where the device has padding.
std::vector<int> columns_in_lane_order(const Layout& host, const NetworkLayout& layout) {
  std::vector<int> columns(2 * index_of(layout.channels), -1);
  const HeadSplit &heads = layout.feature_heads, &degrees = layout.degree_heads;
  for (int channel = 0; channel < layout.features; ++channel) {
    columns[index_of(lane_position(heads, channel / heads.width, channel % heads.width))] =
        head_position(channel, host.head_width, host.head_padded);
    columns[index_of(layout.channels + lane_position(degrees, channel / degrees.width, channel % degrees.width))] =
        host.features_padded + head_position(channel, host.coordinate_head_width, host.coordinate_head_padded);
  }
  return columns;
}

// The rows of the host's spline, before they are rounded to its precision.
std::vector<double> exact_rows(const Parameters<float>& parameters, std::size_t layer) {
  const RadialTable<float>& table = parameters.layers[layer].table;
  const RadialFilter filter(parameters.model().layers[layer], parameters.layout, parameters.radial_functions,
                            layer == 0 && parameters.first_layer_by_species);
  std::vector<double> slope(index_of(filter.channels()));
  const ChannelFunction function = [&](double z, double* value) {
    filter(std::max(table.half * z / (1.0 - z), kSmallestDistance), value, slope.data());
  };
  return fit_spline(function, filter.channels(), table.intervals / table.intervals_per_unit, table.intervals);
}

using PieceWeights = std::array<std::array<double, kSplineRows>, kCoefficients>;

// Weights of the rows of an interval in the coefficients of its piece number `piece`.
PieceWeights piece_weights(int piece) {
  // Newton's divided differences, whose polynomials are then written out in powers of t.
  double t[kCoefficients], value[kCoefficients][kSplineRows], unused[kSplineRows - 1];
  for (int n = 0; n < kCoefficients; ++n) {
    t[n] = 0.5 * std::cos((n + 0.5) * std::numbers::pi / kCoefficients);
    spline_weights((piece + 0.5 + t[n]) / kPieces, value[n], unused);
  }
  PieceWeights out{};
  for (std::size_t s = 0; s < kSplineRows; ++s) {
    double difference[kCoefficients];
    for (int n = 0; n < kCoefficients; ++n) difference[n] = value[n][s];
    for (int order = 1; order < kCoefficients; ++order)
      for (int n = kCoefficients - 1; n >= order; --n) difference[n] = (difference[n] - difference[n - 1]) / (t[n] - t[n - order]);
    double power[kCoefficients] = {difference[kCoefficients - 1]};
    for (int n = kCoefficients - 2; n >= 0; --n) {  // power = power * (t - t_n) + difference_n
      for (int k = kCoefficients - 1; k > 0; --k) power[k] = power[k - 1] - t[n] * power[k];
      power[0] = difference[n] - t[n] * power[0];
    }
    for (std::size_t k = 0; k < kCoefficients; ++k) out[k][s] = power[k];
  }
  return out;
}

// The number nearest to c2 whose last byte is that of c3 (packed_cubic).
float pack(double c2, int c3) {
  const unsigned bits = std::bit_cast<unsigned>(static_cast<float>(c2)), place = 0x100u;
  const unsigned middle = (bits & ~0xffu) | static_cast<unsigned>(c3 + kPackedZero);
  float nearest = std::bit_cast<float>(middle);
  for (const unsigned candidate : {middle - place, middle + place}) {
    const float number = std::bit_cast<float>(candidate);
    if (std::abs(number - c2) < std::abs(nearest - c2)) nearest = number;
  }
  return nearest;
}

}  // namespace

template <>
HostFilterTable<double> make_filter_table(const Parameters<double>& parameters, std::size_t layer, const NetworkLayout& layout) {
  const RadialTable<double>& table = parameters.layers[layer].table;
  const std::vector<int> columns = columns_in_lane_order(parameters.layout, layout);
  HostFilterTable<double> out{{}, {}, {table.half, table.intervals_per_unit, table.intervals}};
  for (int row = 0; row < table.intervals + kSplineRows - 1; ++row)
    for (const int column : columns)
      out.rows.push_back(column < 0 ? 0.0 : table.rows[static_cast<std::ptrdiff_t>(row) * table.columns + column]);
  return out;
}

template <>
HostFilterTable<float> make_filter_table(const Parameters<float>& parameters, std::size_t layer, const NetworkLayout& layout) {
  const RadialTable<float>& table = parameters.layers[layer].table;
  const std::vector<int> columns = columns_in_lane_order(parameters.layout, layout);
  const std::vector<double> rows = exact_rows(parameters, layer);
  const std::size_t width = columns.size(), stride = rows.size() / index_of(table.intervals + kSplineRows - 1);
  HostFilterTable<float> out{{}, {}, {table.half, table.intervals_per_unit * kPieces, table.intervals * kPieces}};
  out.rows.resize(index_of(out.coordinate.intervals) * kPackedRows * width);
  PieceWeights weights[kPieces];
  for (int piece = 0; piece < kPieces; ++piece) weights[piece] = piece_weights(piece);
  std::vector<std::array<double, kCoefficients>> cubics(width);
  float* to = out.rows.data();
  for (int at = 0; at < out.coordinate.intervals; ++at, to += kPackedRows * width) {
    double largest = std::numeric_limits<float>::min();
    for (std::size_t c = 0; c < width; ++c) {
      cubics[c] = {};
      if (columns[c] < 0) continue;
      const double* row = rows.data() + index_of(at / kPieces) * stride + columns[c];
      for (std::size_t k = 0; k < kCoefficients; ++k)
        for (std::size_t s = 0; s < kSplineRows; ++s) cubics[c][k] += weights[at % kPieces][k][s] * row[s * stride];
      largest = std::max(largest, std::abs(cubics[c][3]));
    }
    out.steps.push_back(static_cast<float>(largest / (kPackedZero - 1)));
    for (std::size_t c = 0; c < width; ++c) {
      to[c] = static_cast<float>(cubics[c][0]);
      to[width + c] = static_cast<float>(cubics[c][1]);
      to[2 * width + c] = pack(cubics[c][2], static_cast<int>(std::lround(cubics[c][3] / largest * (kPackedZero - 1))));
    }
  }
  return out;
}

}  // namespace so3md::cuda
