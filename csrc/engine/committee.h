// Several models evaluated together. In Python: so3md/committee.py.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "evaluation/engine.h"

namespace so3md {

/// Throws std::invalid_argument with a finished message, which has the `names`, where members do not predict the same: elements, heads,
/// long-range terms and their lengths.
void check_members(const std::vector<std::shared_ptr<const Model>>& members, const std::vector<std::string>& names);

/// Results are the means of the members' results, so that forces are the derivative of the mean energy; force_uncertainties the deviation
/// of the members' forces, sqrt(mean of |F - mean F|^2), where forces were asked for. On processors only, without features of layers or
/// electrostatics of the host.
class Committee final : public Engine {
 public:
  /// Members are at least two, and have passed check_members(). As create_engine() for all else.
  Committee(const std::vector<std::shared_ptr<const Model>>& members, const EngineOptions& options, ThreadPool& pool);

  std::unique_ptr<Engine> create_sibling(ThreadPool& pool) const override;
  const DomainResults& evaluate(const Domain& domain, const int* species, HaloExchange& halo, const Request& request) override;
  EngineReport report() const override;  ///< of the first member without tables, if there is one

  /// [members][9] sums of the last evaluation's virials over the atoms of this process, eV
  const std::vector<double>& member_virials() const { return member_virials_; }

 private:
  explicit Committee(std::vector<std::unique_ptr<Engine>> engines) : engines_(std::move(engines)) {}

  std::vector<std::unique_ptr<Engine>> engines_;
  DomainResults mean_;
  std::vector<double> member_virials_;
};

}  // namespace so3md
