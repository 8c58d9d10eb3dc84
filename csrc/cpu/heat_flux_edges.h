// Edges of the heat flux: geometry, filters and both attentions for rows with five parts (csrc/heat_flux/kernels.h).
//
// For a function f of the displacement d = r_j - r_i alone, with A = grad f . v_j and B = grad f . v_i (eq. 75 of docs/theory.md):
//   rate f = A - B,  moment f = -d A.
// A quantity x_j of the neighbour enters with its moments about the centre instead of about j: moment - d rate (eq. 76).
#pragma once

#include "cpu/edge_tile.h"
#include "cpu/heat_flux_nodes.h"

namespace SO3MD_CPU_NAMESPACE::heat_flux {

/// Edges of one atom that are worked on together.
inline constexpr int kEdges = 16;
static_assert(kEdges % kLanes == 0);

/// Displacements, distances and what depends on them alone, of up to kEdges edges.
struct EdgeGeometry {
  int count = 0;
  int slot[kEdges];
  double r[kEdges], d[kEdges][3];
  double cutoff[kEdges][kParts];    ///< phi(r)
  double distance[kEdges][kParts];  ///< r
  alignas(64) double ux[kEdges], uy[kEdges], uz[kEdges];
  alignas(64) double own[3][kEdges], other[3][kEdges];  ///< (v_i - u u.v_i) / r, and so of j: du along a velocity

  EdgeGeometry(const EdgeView<double>& edges, const double* velocities, int i, std::int64_t first, std::int64_t end) {
    count = static_cast<int>(end - first < kEdges ? end - first : kEdges);
    const double* v_i = velocities + 3 * static_cast<std::ptrdiff_t>(i);
    for (int p = 0; p < kEdges; ++p) {
      const std::int64_t edge = first + (p < count ? p : 0);
      slot[p] = edges.slot[edge];
      r[p] = edges.r[edge];
      const double u[3] = {edges.ux[edge], edges.uy[edge], edges.uz[edge]};
      const double* v_j = velocities + 3 * static_cast<std::ptrdiff_t>(slot[p]);
      const double along_i = u[0] * v_i[0] + u[1] * v_i[1] + u[2] * v_i[2], along_j = u[0] * v_j[0] + u[1] * v_j[1] + u[2] * v_j[2];
      ux[p] = u[0];
      uy[p] = u[1];
      uz[p] = u[2];
      distance[p][kValue] = r[p];
      distance[p][kRate] = along_j - along_i;
      for (int a = 0; a < 3; ++a) {
        d[p][a] = r[p] * u[a];
        distance[p][kMoment + a] = -d[p][a] * along_j;
        own[a][p] = (v_i[a] - u[a] * along_i) / r[p];
        other[a][p] = (v_j[a] - u[a] * along_j) / r[p];
      }
      cutoff[p][kValue] = edges.cutoff[edge];
      for (int part = 1; part < kParts; ++part) cutoff[p][part] = edges.cutoff_derivative[edge] * distance[p][part];
    }
  }
};

/// Spherical harmonics of the edges, [coordinate][edge], and their derivatives along the velocities of both atoms.
struct EdgeHarmonics {
  double *value, *own, *other;

  EdgeHarmonics(const Layout& layout, double* scratch)
      : value(scratch), own(value + kEdges * layout.num_coordinates), other(own + kEdges * layout.num_coordinates) {}
  static int size(const Layout& layout) { return 3 * kEdges * layout.num_coordinates; }

  void set(const Layout& layout, const HarmonicsTable<double>& table, const EdgeGeometry& g) {
    for (int lane = 0; lane < g.count; lane += kLanes) {
      const Vec<double> x = load<double>(g.ux + lane), y = load<double>(g.uy + lane), z = load<double>(g.uz + lane);
      const HarmonicPolynomials<double> p(table.max_degree, x, y, z);
      Vec<double> t[2][3];
      for (int a = 0; a < 3; ++a) {
        t[0][a] = load<double>(g.own[a] + lane);
        t[1][a] = load<double>(g.other[a] + lane);
      }
      for (int index = 0; index < layout.num_degrees; ++index) {
        const int l = layout.degree[index];
        for (int m = 0; m <= l; ++m) {
          const double prefactor = table.prefactor[l][m];
          const int plus = (layout.degree_offset[index] + l + m) * kEdges + lane, minus = plus - 2 * m * kEdges;
          if (m > 0) store<double>(value + minus, prefactor * p.q[l][m] * p.b[m]);
          store<double>(value + plus, prefactor * p.q[l][m] * p.a[m]);
          for (int end = 0; end < 2; ++end) {
            // dQ along t, and the derivatives of (x + i y)^m: m (x + i y)^(m - 1) (t_x + i t_y).
            const Vec<double> change =
                static_cast<double>(l + m) * p.legendre(l - 1, m) * t[end][2] - p.legendre(l - 1, m + 1) * (x * t[end][0] + y * t[end][1]);
            double* to = end == 0 ? own : other;
            if (m == 0) {
              store<double>(to + plus, prefactor * change);
              continue;
            }
            const Vec<double> turn = static_cast<double>(m) * p.q[l][m];
            store<double>(to + plus, prefactor * (change * p.a[m] + turn * (p.a[m - 1] * t[end][0] - p.b[m - 1] * t[end][1])));
            store<double>(to + minus, prefactor * (change * p.b[m] + turn * (p.b[m - 1] * t[end][0] + p.a[m - 1] * t[end][1])));
          }
        }
      }
    }
  }

  /// chi += weight Y for the coordinates of one degree, with the parts of the weight of edge p.
  void add(const EdgeGeometry& g, int p, int first, int end, const double* weight, int stride, double* chi) const {
    for (int m = first; m < end; ++m) {
      const double y = value[m * kEdges + p], a = other[m * kEdges + p], b = own[m * kEdges + p];
      chi[m] += weight[kValue] * y;
      chi[kRate * stride + m] += weight[kRate] * y + weight[kValue] * (a - b);
      for (int k = 0; k < 3; ++k) chi[(kMoment + k) * stride + m] += weight[kMoment + k] * y - weight[kValue] * g.d[p][k] * a;
    }
  }
};

/// One of the two filters and its attention: where its channels and their networks lie.
struct Part {
  int heads, width, query, key, first_channel, first_spherical, first_radial;
  const Linear<double>*spherical, *radial;
  double normaliser;
  int channels() const { return heads * width; }
};

inline Part features_part(const Layout& layout, const LayerParameters<double>& p) {
  return {layout.heads,
          layout.head_padded,
          layout.query_offset,
          layout.key_offset,
          0,
          0,
          0,
          &p.spherical2_features.forward,
          &p.radial.dense2_features.forward,
          layout.features_normalizer};
}

inline Part coordinates_part(const Layout& layout, const LayerParameters<double>& p) {
  return {layout.num_degrees,
          layout.coordinate_head_padded,
          layout.coordinate_query_offset,
          layout.coordinate_key_offset,
          layout.features_padded,
          layout.spherical_hidden,
          layout.radial_hidden,
          &p.spherical2_coordinates.forward,
          &p.radial.dense2_coordinates.forward,
          layout.coordinates_normalizer};
}

/// Memory of a thread for the edges of one atom.
struct EdgeBuffers {
  double *harmonics, *basis, *radial_hidden, *radial, *invariants, *hidden, *filter, *attended, *difference;

  EdgeBuffers(const Layout& layout, double* scratch) {
    harmonics = scratch;
    basis = harmonics + EdgeHarmonics::size(layout);
    radial_hidden = basis + 2 * kEdges * layout.radial_stride;
    radial = radial_hidden + 4 * kEdges * layout.radial_hidden;
    invariants = radial + 2 * kEdges * widest(layout);
    hidden = invariants + kEdges * kParts * kMaxDegrees;
    filter = hidden + 2 * kEdges * kParts * layout.spherical_hidden;
    attended = filter + kEdges * kParts * widest(layout);
    difference = attended + kParts * layout.features_padded;
  }
  static int widest(const Layout& layout) {
    return layout.features_padded > layout.coordinates_padded ? layout.features_padded : layout.coordinates_padded;
  }
  static std::size_t size(const Layout& layout) {
    return static_cast<std::size_t>(EdgeHarmonics::size(layout) + 2 * kEdges * layout.radial_stride + 4 * kEdges * layout.radial_hidden +
                                    (2 + kParts) * kEdges * widest(layout) + kEdges * kParts * kMaxDegrees +
                                    2 * kEdges * kParts * layout.spherical_hidden + kParts * layout.features_padded +
                                    kParts * layout.chi_stride);
  }
};

/// b.radial_hidden: rows of two for each edge, values of the hidden layers of both radial networks and their derivatives by r.
inline void radial_hidden(const LayerStep& step, const EdgeGeometry& g, EdgeBuffers& b) {
  const Layout& layout = *step.layout;
  double value[kMostRadial], derivative[kMostRadial];
  for (int p = 0; p < g.count; ++p) {
    (*step.radial_functions)(g.r[p], value, derivative);
    double* row = b.basis + 2 * p * layout.radial_stride;
    for (int k = 0; k < layout.num_radial; ++k) {
      row[k] = value[k];
      row[layout.radial_stride + k] = derivative[k];
    }
  }
  const Linear<double>& first = step.parameters->radial.dense1.forward;
  const int stride = 2 * layout.radial_hidden;
  multiply(first, 2 * g.count, b.basis, layout.radial_stride, b.radial_hidden, stride);
  for (int p = 0; p < g.count; ++p) add_rows<double>(first.columns, first.bias, b.radial_hidden + 2 * p * stride);
  activate(layout.activation, g.count, 2, first.columns, stride, b.radial_hidden);
}

/// b.radial: rows of two for each edge, the radial filter with all biases and its derivative by r.
inline void radial_filter(const LayerStep& step, const EdgeGeometry& g, const Part& part, EdgeBuffers& b) {
  const Layout& layout = *step.layout;
  const RadialTable<double>& table = step.parameters->table;
  const int channels = part.channels();
  if (table.rows == nullptr) {
    multiply(*part.radial, 2 * g.count, b.radial_hidden + part.first_radial, 2 * layout.radial_hidden, b.radial, channels);
    for (int p = 0; p < g.count; ++p) add_rows<double>(channels, part.radial->bias, b.radial + 2 * p * channels);
    return;
  }
  const int row = table.columns;
  for (int p = 0; p < g.count; ++p) {
    const SplinePlace<double> place(table, g.r[p]);
    double* to = b.radial + 2 * p * channels;
    spline_values_and_slopes<double>(place.value, place.difference, 1,
                                     table.rows + static_cast<std::ptrdiff_t>(place.interval) * row + part.first_channel, row, channels, to,
                                     to + channels);
  }
}

/// b.hidden: the hidden layers of the spherical networks of both filters (eq. 17), of the invariants of chi_j - chi_i.
inline void spherical_hidden(const LayerStep& step, const EdgeGeometry& g, int i, EdgeBuffers& b) {
  const Layout& layout = *step.layout;
  const int stride = layout.chi_stride, hidden = 2 * layout.spherical_hidden;
  const double* own = step.chi + static_cast<std::ptrdiff_t>(i) * kParts * stride;
  for (int p = 0; p < g.count; ++p) {
    const double* other = step.chi + static_cast<std::ptrdiff_t>(g.slot[p]) * kParts * stride;
    for (int k = 0; k < kParts * stride; ++k) b.difference[k] = other[k] - own[k];
    for (int a = 0; a < 3; ++a)
      for (int m = 0; m < stride; ++m) b.difference[(kMoment + a) * stride + m] -= g.d[p][a] * other[kRate * stride + m];
    double* invariants = b.invariants + p * kParts * kMaxDegrees;
    invariants_of(layout, b.difference, stride, invariants, kMaxDegrees);
    for (int row = 0; row < kParts; ++row)
      for (int k = 0; k < hidden; k += kLanes) {
        Vec<double> z = row == kValue ? load<double>(step.parameters->spherical1_bias + k) : Vec<double>{};
        for (int index = 0; index < layout.num_degrees; ++index)
          z += invariants[row * kMaxDegrees + index] * load<double>(step.parameters->spherical1_weight + index * hidden + k);
        store<double>(b.hidden + (p * kParts + row) * hidden + k, z);
      }
  }
  activate(layout.activation, g.count, kParts, hidden, hidden, b.hidden);
}

/// b.filter: rows of kParts for each edge (eq. 17).
inline void edge_filters(const LayerStep& step, const EdgeGeometry& g, const Part& part, EdgeBuffers& b) {
  const int channels = part.channels();
  radial_filter(step, g, part, b);
  for (int p = 0; p < g.count; ++p) {
    const double* radial = b.radial + 2 * p * channels;
    double* to = b.filter + kParts * p * channels;
    copy_rows<double>(channels, radial, to);
    for (int row = 1; row < kParts; ++row)
      for (int c = 0; c < channels; c += kLanes)
        store<double>(to + row * channels + c, g.distance[p][row] * load<double>(radial + channels + c));
  }
  if (step.radial_only) return;
  multiply_add(*part.spherical, kParts * g.count, b.hidden + part.first_spherical, 2 * step.layout->spherical_hidden, b.filter, channels);
}

/// phi alpha of one head of an edge (eq. 19), in parts. q and k are rows of the centre and of the neighbour, `stride` apart.
inline void weigh_head(const EdgeGeometry& g, int p, int width, double normaliser, const double* q, const double* k, int stride,
                       const double* w, int filter_stride, double* weight) {
  Vec<double> sums[kParts] = {}, neighbour[kParts] = {};
  for (int e = 0; e < width; e += kLanes) {
    const Vec<double> q0 = load<double>(q + e), k0 = load<double>(k + e), w0 = load<double>(w + e);
    const Vec<double> qw = q0 * w0, wk = w0 * k0, qk = q0 * k0;
    sums[kValue] += qw * k0;
    for (int part = 1; part < kParts; ++part) {
      sums[part] += wk * load<double>(q + part * stride + e) + qk * load<double>(w + part * filter_stride + e);
      neighbour[part] += qw * load<double>(k + part * stride + e);
    }
  }
  double alpha[kParts];
  alpha[kValue] = normaliser * sum<double>(sums[kValue]);
  const double rate = sum<double>(neighbour[kRate]);
  alpha[kRate] = normaliser * (sum<double>(sums[kRate]) + rate);
  for (int a = 0; a < 3; ++a)
    alpha[kMoment + a] = normaliser * (sum<double>(sums[kMoment + a] + neighbour[kMoment + a]) - g.d[p][a] * rate);
  const double* phi = g.cutoff[p];
  weight[kValue] = phi[kValue] * alpha[kValue];
  for (int part = 1; part < kParts; ++part) weight[part] = phi[kValue] * alpha[part] + phi[part] * alpha[kValue];
}

/// The attention's sum over neighbours += weight v_j, of one head (eq. 20).
inline void add_values(const double* d, int width, const double* weight, const double* v, int stride, double* to, int to_stride) {
  for (int e = 0; e < width; e += kLanes) {
    const Vec<double> v0 = load<double>(v + e), rate = load<double>(v + kRate * stride + e);
    store<double>(to + e, load<double>(to + e) + weight[kValue] * v0);
    double* at = to + kRate * to_stride + e;
    store<double>(at, load<double>(at) + weight[kRate] * v0 + weight[kValue] * rate);
    for (int a = 0; a < 3; ++a) {
      at = to + (kMoment + a) * to_stride + e;
      const Vec<double> moment = load<double>(v + (kMoment + a) * stride + e) - d[a] * rate;
      store<double>(at, load<double>(at) + weight[kMoment + a] * v0 + weight[kValue] * moment);
    }
  }
}

inline void attend_features(const LayerStep& step, const EdgeGeometry& g, int i, EdgeBuffers& b) {
  const Layout& layout = *step.layout;
  const Part part = features_part(layout, *step.parameters);
  edge_filters(step, g, part, b);
  const int stride = layout.projection_stride;
  const double* own = step.projection + static_cast<std::ptrdiff_t>(i) * kParts * stride;
  for (int p = 0; p < g.count; ++p) {
    const double* other = step.projection + static_cast<std::ptrdiff_t>(g.slot[p]) * kParts * stride;
    for (int head = 0; head < part.heads; ++head) {
      const int channel = head * part.width;
      double weight[kParts];
      weigh_head(g, p, part.width, part.normaliser, own + part.query + channel, other + part.key + channel, stride,
                 b.filter + kParts * p * part.channels() + channel, part.channels(), weight);
      add_values(g.d[p], part.width, weight, other + layout.value_offset + channel, stride, b.attended + channel, layout.features_padded);
    }
  }
}

inline void attend_coordinates(const LayerStep& step, const EdgeGeometry& g, int i, const EdgeHarmonics& harmonics, EdgeBuffers& b) {
  const Layout& layout = *step.layout;
  const Part part = coordinates_part(layout, *step.parameters);
  edge_filters(step, g, part, b);
  const int stride = layout.projection_stride;
  const double* own = step.projection + static_cast<std::ptrdiff_t>(i) * kParts * stride;
  double* chi = step.chi_next + static_cast<std::ptrdiff_t>(i) * kParts * layout.chi_stride;
  for (int p = 0; p < g.count; ++p) {
    const double* other = step.projection + static_cast<std::ptrdiff_t>(g.slot[p]) * kParts * stride;
    for (int index = 0; index < part.heads; ++index) {
      const int channel = index * part.width, first = layout.degree_offset[index];
      double weight[kParts];
      weigh_head(g, p, part.width, part.normaliser, own + part.query + channel, other + part.key + channel, stride,
                 b.filter + kParts * p * part.channels() + channel, part.channels(), weight);
      harmonics.add(g, p, first, first + 2 * layout.degree[index] + 1, weight, layout.chi_stride, chi);
    }
  }
}

inline void attend_atoms(const LayerStep& step, int begin, int end, double* scratch) {
  const Layout& layout = *step.layout;
  EdgeBuffers b(layout, scratch);
  EdgeHarmonics harmonics(layout, b.harmonics);
  for (int i = begin; i < end; ++i) {
    const std::ptrdiff_t chi = static_cast<std::ptrdiff_t>(i) * kParts * layout.chi_stride;
    copy_rows<double>(kParts * layout.chi_stride, step.chi + chi, step.chi_next + chi);
    for (int k = 0; k < kParts * layout.features_padded; ++k) b.attended[k] = 0.0;
    const std::int64_t last = step.edges.first[i] + step.edges.count[i];
    for (std::int64_t edge = step.edges.first[i]; edge < last; edge += kEdges) {
      const EdgeGeometry g(step.edges, step.velocities, i, edge, last);
      harmonics.set(layout, *step.harmonics, g);
      if (step.parameters->table.rows == nullptr) radial_hidden(step, g, b);
      if (!step.radial_only) spherical_hidden(step, g, i, b);
      attend_features(step, g, i, b);
      attend_coordinates(step, g, i, harmonics, b);
    }
    double* x = step.x + static_cast<std::ptrdiff_t>(i) * kParts * layout.feature_stride;
    for (int part = 0; part < kParts; ++part)
      for (int head = 0; head < layout.heads; ++head)
        for (int e = 0; e < layout.head_width; ++e)
          x[part * layout.feature_stride + head * layout.head_width + e] +=
              b.attended[part * layout.features_padded + head * layout.head_padded + e];
  }
}

/// chi before the first layer: initial_scale sum_j phi Y (eq. 53).
inline void initial_coordinates(const LayerStep& step, int begin, int end, double* scratch) {
  const Layout& layout = *step.layout;
  EdgeBuffers b(layout, scratch);
  EdgeHarmonics harmonics(layout, b.harmonics);
  for (int i = begin; i < end; ++i) {
    double* chi = step.chi_next + static_cast<std::ptrdiff_t>(i) * kParts * layout.chi_stride;
    for (int k = 0; k < kParts * layout.chi_stride; ++k) chi[k] = 0.0;
    const std::int64_t last = step.edges.first[i] + step.edges.count[i];
    for (std::int64_t edge = step.edges.first[i]; edge < last; edge += kEdges) {
      const EdgeGeometry g(step.edges, step.velocities, i, edge, last);
      harmonics.set(layout, *step.harmonics, g);
      for (int p = 0; p < g.count; ++p) {
        double weight[kParts];
        for (int part = 0; part < kParts; ++part) weight[part] = layout.initial_scale * g.cutoff[p][part];
        harmonics.add(g, p, 0, layout.num_coordinates, weight, layout.chi_stride, chi);
      }
    }
  }
}

}  // namespace SO3MD_CPU_NAMESPACE::heat_flux
