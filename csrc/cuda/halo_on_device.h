// The exchange of halo rows that lie on the device: packed there, and sent from there, or through pinned memory of the host.
#pragma once

#include <vector>

#include "cuda/device_array.h"
#include "cuda/seams.h"
#include "halo/planned_halo.h"

namespace so3md::cuda {

/// Where the rows of one array start in a packed row, and where they lie. Widths in numbers.
template <class Real>
struct PackedArray {
  Real* values;
  int width, stride, first;
};

class HaloOnDevice final : public DeviceHalo {
 public:
  /// `direct`: the transport takes memory of the device.
  HaloOnDevice(const Stream& stream, bool direct) : stream_(stream), direct_(direct) {}

  /// For the next evaluation. `build`: as Domain::build; plans are taken to be the same as long as it is.
  void set_exchange(HaloExchange& halo, std::int64_t build);

  bool alone() const { return halo_->plan_of(Reach::all) == nullptr; }

  void start(Reach reach, std::span<const Rows<float>> arrays) override { start_rows(reach, arrays); }
  void start(Reach reach, std::span<const Rows<double>> arrays) override { start_rows(reach, arrays); }
  void finish() override;

 private:
  struct RowLists {
    DeviceArray<int> send, receive;
    int n_send = 0, n_receive = 0;
  };
  static constexpr int kMaxArrays = 4;

  void upload(Reach reach, RowLists& lists) const;
  template <class Real>
  void start_rows(Reach reach, std::span<const Rows<Real>> arrays);
  template <class Real>
  void copy_rows(bool pack, const RowLists& lists, const std::vector<PackedArray<Real>>& arrays, int width, void* buffer) const;

  const Stream& stream_;
  bool direct_;
  HaloExchange* halo_ = nullptr;
  std::int64_t build_ = 0;
  RowLists near_, all_;
  DeviceArray<std::byte> device_send_, device_receive_;
  PinnedArray<std::byte> host_send_, host_receive_;

  // The exchange under way.
  Reach reach_ = Reach::near;
  std::vector<PackedArray<float>> single_arrays_;
  std::vector<PackedArray<double>> double_arrays_;
  int width_ = 0;
};

}  // namespace so3md::cuda
