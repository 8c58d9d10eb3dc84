#include "paper2022/species_products.h"

#include "common/index.h"

namespace so3md::paper2022 {

template <class Real>
void SpeciesProducts<Real>::make(const Matrix& features, const std::vector<int>& present) {
  const Layout& layout = parameters_.layout;
  count_ = static_cast<int>(present.size());
  AlignedVector<Real> x(index_of(count_) * index_of(layout.feature_stride)),
      projection(index_of(count_) * index_of(layout.projection_stride));
  for (int row = 0; row < count_; ++row)
    for (int f = 0; f < layout.features; ++f)
      x[index_of(row) * index_of(layout.feature_stride) + index_of(f)] = static_cast<Real>(features(present[index_of(row)], f));
  LayerStep<Real> step;
  step.layout = &layout;
  step.parameters = &parameters_.layers.front();
  step.x = x.data();
  kernels<Real>().project(step, 0, count_, projection.data());

  rows_.assign(index_of(count_) * index_of(count_) * index_of(stride()), Real(0));
  const auto projection_of = [&](int row) { return projection.data() + std::ptrdiff_t{row} * layout.projection_stride; };
  for (int a = 0; a < count_; ++a)
    for (int b = 0; b < count_; ++b)
      set_row(projection_of(a) + layout.coordinate_query_offset, projection_of(b) + layout.coordinate_key_offset,
              rows_.data() + std::ptrdiff_t{a * count_ + b} * stride());
}

// [degree][hidden value], then the constants of the degrees.
template <class Real>
void SpeciesProducts<Real>::set_row(const Real* query, const Real* key, Real* to) const {
  const Layout& layout = parameters_.layout;
  const Matrix& weight = parameters_.model().layers.front().filter_coordinates.spherical2.weight;
  const Real* beyond = parameters_.layers.front().beyond;
  for (int degree = 0; degree < layout.num_degrees; ++degree) {
    std::vector<double> sums(index_of(weight.cols));
    double constant = 0.0;
    for (int c = 0; c < layout.coordinate_head_width; ++c) {
      const int place = degree * layout.coordinate_head_padded + c;
      const double product = static_cast<double>(query[place]) * static_cast<double>(key[place]);
      constant += product * static_cast<double>(beyond[place]);
      for (int hidden = 0; hidden < weight.cols; ++hidden)
        sums[index_of(hidden)] += product * weight(degree * layout.coordinate_head_width + c, hidden);
    }
    for (int hidden = 0; hidden < weight.cols; ++hidden)
      to[degree * layout.spherical_hidden + hidden] = static_cast<Real>(sums[index_of(hidden)]);
    to[layout.num_degrees * layout.spherical_hidden + degree] = static_cast<Real>(constant);
  }
}

template class SpeciesProducts<float>;
template class SpeciesProducts<double>;

}  // namespace so3md::paper2022
