#include "training/geometry.h"

#include <algorithm>
#include <cmath>

#include "network/harmonics_table.h"
#include "training/kernels.h"

namespace so3md::training {

namespace {

Model model_of(const Hyperparameters& hyper) {
  Model model;
  model.hyper = hyper;
  return model;
}

Layout layout_of(const std::vector<int>& degrees) {
  Layout layout;
  for (const int degree : degrees) {
    layout.degree[layout.num_degrees] = degree;
    layout.degree_offset[layout.num_degrees] = layout.num_coordinates;
    layout.num_coordinates += 2 * degree + 1;
    ++layout.num_degrees;
  }
  return layout;
}

template <class Real>
void copy(const std::vector<double>& from, Real* to) {
  std::transform(from.begin(), from.end(), to, [](double value) { return static_cast<Real>(value); });
}

}  // namespace

Geometry::Geometry(const Hyperparameters& hyper)
    : cutoff_(hyper),
      radial_(model_of(hyper)),
      has_parameters_(hyper.radial_basis == RadialBasis::gaussian),
      table_(make_harmonics_table<double>(hyper)),
      layout_(layout_of(hyper.degrees)) {}

template <class Real>
void Geometry::compute(std::int64_t pairs, const double* displacement, const GeometryArrays<Real>& to) const {
  kernels<Real>().harmonics(layout_, table_, pairs, displacement, to.harmonics, to.harmonics_by);
  std::vector<double> values(static_cast<std::size_t>(radial_.size())), slopes(values.size());
  for (std::int64_t pair = 0; pair < pairs; ++pair) {
    const double* const d = displacement + 3 * pair;
    const double r = std::sqrt(d[0] * d[0] + d[1] * d[1] + d[2] * d[2]);
    to.distance[pair] = static_cast<Real>(r);
    for (int axis = 0; axis < 3; ++axis) to.unit[3 * pair + axis] = static_cast<Real>(d[axis] / r);
    double slope = 0.0;
    to.phi[pair] = static_cast<Real>(cutoff_(r, &slope));
    to.phi_slope[pair] = static_cast<Real>(slope);
    if (has_parameters_) continue;
    radial_(r, values.data(), slopes.data());
    copy(values, to.radial + pair * radial_.size());
    copy(slopes, to.radial_slope + pair * radial_.size());
  }
}

template void Geometry::compute(std::int64_t, const double*, const GeometryArrays<float>&) const;
template void Geometry::compute(std::int64_t, const double*, const GeometryArrays<double>&) const;

}  // namespace so3md::training
