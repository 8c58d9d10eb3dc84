#include "halo/planned_halo.h"

#include <chrono>
#include <cstring>
#include <map>
#include <numeric>
#include <stdexcept>
#include <string>

#include "common/index.h"

namespace so3md {

namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// Rows of a few arrays, one after another in a buffer.
template <class Real>
std::size_t row_bytes(std::span<const Rows<Real>> arrays) {
  std::size_t numbers = 0;
  for (const Rows<Real>& array : arrays) numbers += index_of(array.width);
  return numbers * sizeof(Real);
}

template <class Real>
void pack(std::span<const Rows<Real>> arrays, const std::vector<int>& rows, std::byte* buffer) {
  for (int row : rows)
    for (const Rows<Real>& array : arrays) {
      const std::size_t bytes = index_of(array.width) * sizeof(Real);
      std::memcpy(buffer, array.values + index_of(row) * index_of(array.stride), bytes);
      buffer += bytes;
    }
}

template <class Real>
void unpack(std::span<const Rows<Real>> arrays, const std::vector<int>& rows, const std::byte* buffer) {
  for (int row : rows)
    for (const Rows<Real>& array : arrays) {
      const std::size_t bytes = index_of(array.width) * sizeof(Real);
      std::memcpy(array.values + index_of(row) * index_of(array.stride), buffer, bytes);
      buffer += bytes;
    }
}

// Lists of rows by process, as a plan.
HaloPlan make_plan(const std::map<int, std::vector<int>>& sends, const std::map<int, std::vector<int>>& receives) {
  HaloPlan plan;
  std::map<int, HaloPlan::Peer> peers;
  for (const auto& [process, rows] : sends) {
    HaloPlan::Peer& peer = peers[process];
    peer.first_send = static_cast<int>(plan.send_rows.size());
    peer.n_send = static_cast<int>(rows.size());
    plan.send_rows.insert(plan.send_rows.end(), rows.begin(), rows.end());
  }
  for (const auto& [process, rows] : receives) {
    HaloPlan::Peer& peer = peers[process];
    peer.first_receive = static_cast<int>(plan.receive_rows.size());
    peer.n_receive = static_cast<int>(rows.size());
    plan.receive_rows.insert(plan.receive_rows.end(), rows.begin(), rows.end());
  }
  for (auto& [process, peer] : peers) {
    peer.process = process;
    plan.peers.push_back(peer);
  }
  return plan;
}

// What a process asks of another: points of the near rows, then of the far ones.
struct RowRequest {
  std::vector<int> points;
  int n_near = 0;
};

}  // namespace

void PlannedHalo::plan(int n_owned, int n_near, const std::vector<AtomOwner>& halo, const std::vector<int>& slot_of_point) {
  const auto processes = index_of(transport_.num_processes());
  std::map<int, RowRequest> asked;  // by this process
  std::map<int, std::vector<int>> near_receives, all_receives, near_sends, all_sends;
  std::vector<int> n_near_asked(processes), n_asked(processes), n_near_wanted(processes), n_wanted(processes);
  for (int k = 0; k < static_cast<int>(halo.size()); ++k) {
    const AtomOwner& owner = halo[index_of(k)];
    asked[owner.process].points.push_back(owner.point);
    all_receives[owner.process].push_back(n_owned + k);
    ++n_asked[index_of(owner.process)];
    if (k >= n_near) continue;
    near_receives[owner.process].push_back(n_owned + k);
    ++n_near_asked[index_of(owner.process)];
  }
  transport_.transpose(n_asked, n_wanted);
  transport_.transpose(n_near_asked, n_near_wanted);
  owned_by_.resize(processes);
  transport_.transpose(std::vector<int>(processes, n_owned), owned_by_);

  std::map<int, RowRequest> wanted;  // of this process
  std::vector<Message> sends, receives;
  for (auto& [process, request] : asked) sends.push_back({process, request.points.data(), request.points.size() * sizeof(int)});
  for (std::size_t process = 0; process < processes; ++process) {
    if (n_wanted[process] == 0) continue;
    RowRequest& request = wanted[static_cast<int>(process)];
    request.points.resize(index_of(n_wanted[process]));
    request.n_near = n_near_wanted[process];
    receives.push_back({static_cast<int>(process), request.points.data(), request.points.size() * sizeof(int)});
  }
  transport_.start(sends, receives);
  transport_.finish();
  for (const auto& [process, request] : wanted)
    for (int k = 0; k < static_cast<int>(request.points.size()); ++k) {
      const int point = request.points[index_of(k)];
      const int slot = point < static_cast<int>(slot_of_point.size()) ? slot_of_point[index_of(point)] : -1;
      if (slot < 0)
        throw std::logic_error("process " + std::to_string(process) + " asked for atom " + std::to_string(point) +
                               ", which this process does not own: the processes disagree on who owns what");
      all_sends[process].push_back(slot);
      if (k < request.n_near) near_sends[process].push_back(slot);
    }
  near_ = make_plan(near_sends, near_receives);
  all_ = make_plan(all_sends, all_receives);
}

template <class Real>
void PlannedHalo::start_rows(Reach reach, std::span<const Rows<Real>> arrays) {
  const HaloPlan& plan = *plan_of(reach);
  const std::size_t bytes = row_bytes(arrays);
  send_buffer_.resize(plan.send_rows.size() * bytes);
  receive_buffer_.resize(plan.receive_rows.size() * bytes);
  pack(arrays, plan.send_rows, send_buffer_.data());
  start_packed(reach, bytes, send_buffer_.data(), receive_buffer_.data());
  unpack_ = [this, &plan, arrays = std::vector<Rows<Real>>(arrays.begin(), arrays.end())] {
    unpack<Real>(arrays, plan.receive_rows, receive_buffer_.data());
  };
}

template void PlannedHalo::start_rows(Reach, std::span<const Rows<float>>);
template void PlannedHalo::start_rows(Reach, std::span<const Rows<double>>);

void PlannedHalo::start_packed(Reach reach, std::size_t row_bytes, std::byte* send, std::byte* receive) {
  const HaloPlan& plan = *plan_of(reach);
  std::vector<Message> sends, receives;
  for (const HaloPlan::Peer& peer : plan.peers) {
    if (peer.n_send > 0) sends.push_back({peer.process, send + index_of(peer.first_send) * row_bytes, index_of(peer.n_send) * row_bytes});
    if (peer.n_receive > 0)
      receives.push_back({peer.process, receive + index_of(peer.first_receive) * row_bytes, index_of(peer.n_receive) * row_bytes});
  }
  ++traffic_.exchanges;
  traffic_.messages += static_cast<std::int64_t>(sends.size());
  traffic_.bytes += static_cast<std::int64_t>(plan.send_rows.size() * row_bytes);
  unpack_ = [] {};
  transport_.start(sends, receives);
}

void PlannedHalo::finish() {
  const double begin = now();
  transport_.finish();
  traffic_.wait_seconds += now() - begin;
  unpack_();
}

void PlannedHalo::sum(double* values, int count) {
  const double begin = now();
  transport_.sum(values, count);
  traffic_.wait_seconds += now() - begin;
  ++traffic_.sums;
}

AllRows PlannedHalo::all_rows(int) const {
  const auto own = owned_by_.begin() + transport_.process();
  return {std::accumulate(owned_by_.begin(), own, 0), std::accumulate(owned_by_.begin(), owned_by_.end(), 0)};
}

template <class Real>
void PlannedHalo::gather_rows(int n_owned, const Rows<const Real>& rows, Real* all) {
  const double begin = now();
  const std::size_t row_size = index_of(rows.width) * sizeof(Real);
  std::vector<Message> sends, receives;
  Real* next = all;
  Real* own = nullptr;
  for (int process = 0; process < transport_.num_processes(); ++process) {
    const int count = owned_by_[index_of(process)];
    if (process == transport_.process())
      own = next;
    else if (count > 0)
      receives.push_back({process, next, index_of(count) * row_size});
    next += index_of(count) * index_of(rows.width);
  }
  copy_rows(n_owned, rows, own);
  for (int process = 0; process < transport_.num_processes() && n_owned > 0; ++process)
    if (process != transport_.process()) sends.push_back({process, own, index_of(n_owned) * row_size});
  transport_.start(sends, receives);
  transport_.finish();
  ++traffic_.exchanges;
  traffic_.messages += static_cast<std::int64_t>(sends.size());
  traffic_.bytes += static_cast<std::int64_t>(sends.size() * index_of(n_owned) * row_size);
  traffic_.wait_seconds += now() - begin;
}

template void PlannedHalo::gather_rows(int, const Rows<const float>&, float*);
template void PlannedHalo::gather_rows(int, const Rows<const double>&, double*);

}  // namespace so3md
