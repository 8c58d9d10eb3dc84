#include <stdexcept>

#include "cuda/halo_on_device.h"

namespace so3md::cuda {

namespace {

constexpr int kThreads = 256;

template <class Real>
struct RowCopy {
  PackedArray<Real> arrays[4];
  int count;
  const int* rows;
  int n_rows, width;
  Real* buffer;
  bool pack;
};

/// A thread per number of the packed rows.
template <class Real>
__global__ void copy_packed_rows(RowCopy<Real> task) {
  const std::int64_t at = global_thread();
  if (at >= std::int64_t{task.n_rows} * task.width) return;
  const auto row = static_cast<int>(at / task.width), column = static_cast<int>(at % task.width);
  int k = 0;
  while (k + 1 < task.count && column >= task.arrays[k + 1].first) ++k;
  const PackedArray<Real>& array = task.arrays[k];
  Real* value = array.values + std::int64_t{task.rows[row]} * array.stride + (column - array.first);
  if (task.pack)
    task.buffer[at] = *value;
  else
    *value = task.buffer[at];
}

template <class T>
std::size_t bytes_of(int rows, int width) {
  return static_cast<std::size_t>(rows) * static_cast<std::size_t>(width) * sizeof(T);
}

}  // namespace

void HaloOnDevice::set_exchange(HaloExchange& halo, std::int64_t build) {
  const bool same = halo_ == &halo && build != 0 && build == build_;
  halo_ = &halo;
  build_ = build;
  if (same || alone()) return;
  upload(Reach::near, near_);
  upload(Reach::all, all_);
}

void HaloOnDevice::upload(Reach reach, RowLists& lists) const {
  const HaloPlan& plan = *halo_->plan_of(reach);
  lists.send.upload(plan.send_rows, stream_);
  lists.receive.upload(plan.receive_rows, stream_);
  lists.n_send = static_cast<int>(plan.send_rows.size());
  lists.n_receive = static_cast<int>(plan.receive_rows.size());
}

template <class Real>
void HaloOnDevice::copy_rows(bool pack, const RowLists& lists, const std::vector<PackedArray<Real>>& arrays, int width,
                             void* buffer) const {
  RowCopy<Real> task{};
  for (const PackedArray<Real>& array : arrays) task.arrays[task.count++] = array;
  task.rows = pack ? lists.send.data() : lists.receive.data();
  task.n_rows = pack ? lists.n_send : lists.n_receive;
  task.width = width;
  task.buffer = static_cast<Real*>(buffer);
  task.pack = pack;
  launch(stream_, copy_packed_rows<Real>, count_blocks(std::int64_t{task.n_rows} * width, kThreads), kThreads, 0, task);
}

template <class Real>
void HaloOnDevice::start_rows(Reach reach, std::span<const Rows<Real>> arrays) {
  if (alone()) return;
  if (arrays.size() > kMaxArrays) throw std::logic_error("too many arrays for one exchange of halo rows on the device");
  std::vector<PackedArray<Real>> packed;
  width_ = 0;
  for (const Rows<Real>& array : arrays) {
    packed.push_back({array.values, array.width, array.stride, width_});
    width_ += array.width;
  }
  reach_ = reach;
  const RowLists& lists = reach == Reach::near ? near_ : all_;
  const std::size_t sent = bytes_of<Real>(lists.n_send, width_), received = bytes_of<Real>(lists.n_receive, width_);
  device_send_.resize(sent);
  device_receive_.resize(received);
  copy_rows(true, lists, packed, width_, device_send_.data());
  if (!direct_) {
    host_send_.resize(sent);
    host_receive_.resize(received);
    copy_to_host(host_send_.data(), device_send_.data(), sent, stream_);
  }
  stream_.synchronize();
  halo_->start_packed(reach, static_cast<std::size_t>(width_) * sizeof(Real), direct_ ? device_send_.data() : host_send_.data(),
                      direct_ ? device_receive_.data() : host_receive_.data());
  single_arrays_.clear();
  double_arrays_.clear();
  if constexpr (sizeof(Real) == sizeof(float))
    single_arrays_ = std::move(packed);
  else
    double_arrays_ = std::move(packed);
}

void HaloOnDevice::finish() {
  if (alone()) return;
  halo_->finish();
  const RowLists& lists = reach_ == Reach::near ? near_ : all_;
  if (!direct_) copy_to_device(device_receive_.data(), host_receive_.data(), device_receive_.size(), stream_);
  if (!single_arrays_.empty()) copy_rows(false, lists, single_arrays_, width_, device_receive_.data());
  if (!double_arrays_.empty()) copy_rows(false, lists, double_arrays_, width_, device_receive_.data());
}

template void HaloOnDevice::start_rows(Reach, std::span<const Rows<float>>);
template void HaloOnDevice::start_rows(Reach, std::span<const Rows<double>>);

}  // namespace so3md::cuda
