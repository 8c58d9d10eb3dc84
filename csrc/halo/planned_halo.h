// The exchange of halo rows along a plan that is made whenever the neighbour lists are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "geometry/local_domain.h"
#include "halo/halo_exchange.h"
#include "halo/transport.h"

namespace so3md {

/// Which rows go to and come from which process.
struct HaloPlan {
  struct Peer {
    int process = 0;
    int first_send = 0, n_send = 0;        ///< range of send_rows
    int first_receive = 0, n_receive = 0;  ///< range of receive_rows
  };
  std::vector<Peer> peers;        ///< those with rows to send or to receive, by number
  std::vector<int> send_rows;     ///< slots of owned atoms
  std::vector<int> receive_rows;  ///< slots of other processes' atoms
};

/// What an exchange costs; counted since construction.
struct HaloTraffic {
  std::int64_t exchanges = 0;  ///< calls of start()
  std::int64_t messages = 0;   ///< sent
  std::int64_t bytes = 0;      ///< sent, rows only
  std::int64_t sums = 0;       ///< global reductions
  double wait_seconds = 0.0;   ///< in finish() and sum()
};

class PlannedHalo final : public HaloExchange {
 public:
  /// `transport` must live longer.
  explicit PlannedHalo(Transport& transport) : transport_(transport) {}

  /// Collective: tells each owner which of its atoms this process needs. `halo`: the atoms of the domain's near and far slots, in the
  /// order of the slots; `slot_of_point[p]`: slot of this process's own point p.
  void plan(int n_owned, int n_near, const std::vector<AtomOwner>& halo, const std::vector<int>& slot_of_point);

  void start(Reach reach, std::span<const Rows<float>> arrays) override { start_rows(reach, arrays); }
  void start(Reach reach, std::span<const Rows<double>> arrays) override { start_rows(reach, arrays); }
  const HaloPlan* plan_of(Reach reach) const override { return reach == Reach::near ? &near_ : &all_; }
  void start_packed(Reach reach, std::size_t row_bytes, std::byte* send, std::byte* receive) override;
  void finish() override;
  void sum(double* values, int count) override;
  AllRows all_rows(int n_owned) const override;
  void gather(int n_owned, const Rows<const float>& rows, float* all) override { gather_rows(n_owned, rows, all); }
  void gather(int n_owned, const Rows<const double>& rows, double* all) override { gather_rows(n_owned, rows, all); }

  const HaloPlan& near() const { return near_; }
  const HaloPlan& all() const { return all_; }
  const HaloTraffic& traffic() const { return traffic_; }

 private:
  template <class Real>
  void start_rows(Reach reach, std::span<const Rows<Real>> arrays);
  template <class Real>
  void gather_rows(int n_owned, const Rows<const Real>& rows, Real* all);

  Transport& transport_;
  HaloPlan near_, all_;
  std::vector<int> owned_by_;  // process: its number of atoms
  HaloTraffic traffic_;
  std::vector<std::byte> send_buffer_, receive_buffer_;
  std::function<void()> unpack_;  // what finish() does once the data is here
};

}  // namespace so3md
