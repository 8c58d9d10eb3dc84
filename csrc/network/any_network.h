// What the engine asks of a network, whatever its architecture.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "common/index.h"
#include "common/stopwatch.h"
#include "common/thread_pool.h"
#include "geometry/cell.h"
#include "geometry/domain.h"
#include "halo/halo_exchange.h"
#include "network/edges.h"
#include "network/embedding.h"
#include "network/parameters.h"

namespace so3md {

/// The systems of a domain, for what couples all atoms of one.
struct Systems {
  std::vector<int> first;          ///< [systems + 1] owned atoms of system s are first[s] .. first[s + 1] - 1
  std::vector<double> num_atoms;   ///< [systems] over all processes
  std::vector<const Cell*> cells;  ///< [systems] null: no direction is periodic
  int count() const { return static_cast<int>(num_atoms.size()); }
};

/// Outputs of the readouts for owned atoms, before element-wise scales and offsets.
struct Readouts {
  std::vector<double> energy, charge, hirshfeld, c6;
  std::vector<double> distance;  ///< |factor h|^2 of UncertaintyWeights; empty: the model has none
};

/// Features of every layer, for tests; rows of owned atoms without padding.
struct LayerFeatures {
  std::vector<double> x_in, chi_in, x_attended, chi_attended, x_out, chi_out;
};

/// The first `width` numbers of `count` rows of `stride`.
template <class Real>
std::vector<double> without_padding(const Real* rows, int count, int width, int stride) {
  std::vector<double> to;
  to.reserve(index_of(count) * index_of(width));
  for (int row = 0; row < count; ++row)
    for (int c = 0; c < width; ++c) to.push_back(static_cast<double>(rows[index_of(row) * index_of(stride) + index_of(c)]));
  return to;
}

/// Where the rows of a layer lie.
template <class Real>
struct LayerRows {
  const Real *x_in, *chi_in, *x_attended, *chi_attended, *x_out, *chi_out;
};

/// `layout`: with features, feature_stride, num_coordinates and chi_stride.
template <class Real, class Layout>
LayerFeatures without_padding(const LayerRows<Real>& rows, int count, const Layout& layout) {
  const auto features = [&](const Real* from) { return without_padding(from, count, layout.features, layout.feature_stride); };
  const auto coordinates = [&](const Real* from) { return without_padding(from, count, layout.num_coordinates, layout.chi_stride); };
  return {features(rows.x_in),  coordinates(rows.chi_in), features(rows.x_attended), coordinates(rows.chi_attended),
          features(rows.x_out), coordinates(rows.chi_out)};
}

/// What the attention in the space of chi did in the last evaluation, forward and adjoint, in directed pairs.
struct NonlocalPairs {
  std::int64_t all = 0;        ///< that a search without bounds would have looked at
  std::int64_t measured = 0;   ///< whose distance in that space was computed, for normalisers or for the search
  std::int64_t evaluated = 0;  ///< whose filters were evaluated
};

template <class Real>
class AnyNetwork {
 public:
  virtual ~AnyNetwork() = default;

  /// To be built for the domain before forward().
  virtual Edges<Real>& edges() = 0;

  /// `species`: by slot, positions in Model::elements. Collective over the processes of `halo`.
  virtual void forward(const Domain& domain, const int* species, const Composition& composition, const Systems& systems, HaloExchange& halo,
                       Readouts& out, Stopwatch& watch, std::vector<LayerFeatures>* features) = 0;

  /// After forward(): takes gradients of the energy with respect to the readouts back to forces (n_owned, 3; eV/A) and virials (n_owned,
  /// 9; eV; half of each pair), both added to. Empty gradients: that head has none.
  virtual void adjoint(const Readouts& gradients, HaloExchange& halo, double* forces, double* virial, Stopwatch& watch) = 0;

  /// A network for another thread that shares the parameters.
  virtual std::unique_ptr<AnyNetwork<Real>> create_sibling(ThreadPool& pool) const = 0;

  virtual const char* instruction_set() const = 0;
  virtual bool tabulated() const = 0;
  virtual const TableError& table_error() const = 0;

  virtual NonlocalPairs nonlocal_pairs() const { return {}; }
};

}  // namespace so3md
