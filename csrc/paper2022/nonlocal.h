// All atoms of all processes, in an order in which those that are close in the space of chi stand together.
#pragma once

#include <vector>

#include "network/any_network.h"
#include "paper2022/kernels.h"

namespace so3md::paper2022 {

/// What the attention in the space of chi needs of atoms everywhere. Memory grows with the number of atoms, not of pairs.
template <class Real>
class NonlocalAtoms {
 public:
  explicit NonlocalAtoms(const Parameters<Real>& parameters) : parameters_(parameters), layout_(parameters.layout) {}

  /// Collective: positions, numbers and species, for one evaluation. `species`: of the owned atoms.
  void start(const Domain& domain, const int* species, const Systems& systems, HaloExchange& halo);

  /// Collective: chi of a layer, by which atoms are put in order.
  void fill(const Real* chi, HaloExchange& halo, ThreadPool& pool);

  /// Collective, after fill(): queries and keys of a layer. The first layer has those of elements, and does without.
  void fill_query_key(const Real* projection, HaloExchange& halo, ThreadPool& pool);

  /// Radii of the balls of the owned atoms, for the attention forward.
  void fill_radius(const double* radius);

  /// Collective: what the adjoint needs too. Rows by slot.
  void fill_adjoint(const Real* gradient_chi_attended, const double* radius, HaloExchange& halo);

  /// Collective: the sums of u dE/du of the owned atoms.
  void fill_softmax(const double* gradient_softmax, HaloExchange& halo);

  /// ln c of each owned atom.
  const std::vector<double>& log_cutoff() const { return log_cutoff_; }
  /// The species that are there, in ascending order; view() has their places in it.
  const std::vector<int>& species() const { return species_; }
  const std::vector<NonlocalCentre>& centres() const { return centres_; }
  int num_centres() const { return static_cast<int>(centres_.size()); }
  int num_places() const { return rows_.total; }
  std::int64_t num_pairs() const { return num_pairs_; }  ///< directed, of owned atoms with all others

  /// Pairs of blocks come in rounds, and in none of them does a block stand in two pairs: threads that work on the pairs of a round never
  /// add to the same atom, and rounds decide the order of all sums.
  int num_rounds() const;
  void set_round(int round, std::vector<ChiBlockPair>& pairs) const;

  NonlocalStep<Real> view() const;

 private:
  struct Range {
    int begin, end, system;
  };
  void gather_species(const int* species, HaloExchange& halo);
  void split(int begin, int end, int system);
  void place_columns(ThreadPool& pool);
  void set_centres();
  void set_block_balls();
  template <class Value>
  void gather(const Value* rows, int width, int stride, HaloExchange& halo, std::vector<Value>& all);

  const Parameters<Real>& parameters_;
  const Layout& layout_;
  AllRows rows_;
  int owned_ = 0;
  std::vector<int> first_;  // [systems + 1] rows of a system
  std::vector<MinimumImage> images_;
  std::vector<double> log_cutoff_, log_cutoff_of_system_;
  std::vector<int> row_of_slot_;
  std::vector<double> all_positions_;
  std::vector<int> species_, species_of_row_;  // the latter: places in the former
  std::int64_t num_pairs_ = 0;

  std::vector<int> order_;  // row by place
  std::vector<ChiBlock> blocks_;
  std::vector<int> first_block_;  // [systems + 1]
  std::vector<NonlocalCentre> centres_;
  std::vector<Real> all_;           // rows of all processes, scratch
  std::vector<double> all_double_;  // the same
  AlignedVector<Real> chi_, columns_, query_key_, gradient_chi_, box_low_, box_high_, ball_, block_ball_, softmax_;
  std::ptrdiff_t column_stride_ = 0;
  std::vector<int> owned_of_place_;  // -1: of another process
  std::vector<int> species_of_place_;
  std::vector<double> positions_;
};

}  // namespace so3md::paper2022
