// What the engine asks of a network, whatever its architecture.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "common/stopwatch.h"
#include "common/thread_pool.h"
#include "geometry/cell.h"
#include "geometry/domain.h"
#include "halo/halo_exchange.h"
#include "network/network.h"

namespace so3md {

/// The systems of a domain, for what couples all atoms of one.
struct Systems {
  std::vector<int> first;          ///< [systems + 1] owned atoms of system s are first[s] .. first[s + 1] - 1
  std::vector<double> num_atoms;   ///< [systems] over all processes
  std::vector<const Cell*> cells;  ///< [systems] null: no direction is periodic
  int count() const { return static_cast<int>(num_atoms.size()); }
};

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
  /// 9; eV; half of each pair), both added to.
  virtual void adjoint(const Readouts& gradients, HaloExchange& halo, double* forces, double* virial, Stopwatch& watch) = 0;

  /// A network for another thread that shares the parameters.
  virtual std::unique_ptr<AnyNetwork> create_sibling(ThreadPool& pool) const = 0;

  virtual const char* instruction_set() const = 0;
  virtual bool tabulated() const = 0;
  virtual const TableError& table_error() const = 0;

  virtual NonlocalPairs nonlocal_pairs() const { return {}; }
};

/// The network of the model's architecture. `model` must live longer. `skip_nonlocal`: do not evaluate filters of pairs that bounds in the
/// space of chi show to have no weight.
template <class Real>
std::unique_ptr<AnyNetwork<Real>> create_network(const Model& model, RadialTables tables, bool skip_nonlocal, ThreadPool& pool);

}  // namespace so3md
