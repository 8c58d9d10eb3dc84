#include <algorithm>

#include "cuda/device_array.h"
#include "cuda/speed.h"

namespace so3md::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kChains = 8;  // of multiply-adds that do not wait for each other
constexpr int kRepeats = 5;

#if defined(SO3MD_CUDA_EMULATION)
constexpr int kBlocksPerProcessor = 1, kSteps = 16;
constexpr std::size_t kCopyBytes = 1 << 20;
#else
constexpr int kBlocksPerProcessor = 16, kSteps = 16384;
constexpr std::size_t kCopyBytes = std::size_t{1} << 29;
#endif

template <class Real>
__global__ void multiply_and_add(Real factor, int steps, Real* out) {
  Real sums[kChains];
  for (int k = 0; k < kChains; ++k) sums[k] = static_cast<Real>(threadIdx.x + static_cast<unsigned>(k));
  for (int step = 0; step < steps; ++step)
    for (Real& sum : sums) sum = sum * factor + Real(1);
  Real total = 0;
  for (const Real sum : sums) total += sum;
  out[global_thread()] = total;
}

/// Shortest time of `work`, in seconds.
template <class Work>
double shortest(const Stream& stream, const Work& work) {
  double best = 1e30;
  for (int repeat = 0; repeat < kRepeats; ++repeat) {
    Event begin, end;
    begin.record(stream);
    work();
    end.record(stream);
    stream.synchronize();
    best = std::min(best, end.seconds_since(begin));
  }
  return best;
}

template <class Real>
double operations_per_second(const Stream& stream) {
  const int blocks = kBlocksPerProcessor * count_multiprocessors();
  DeviceArray<Real> out(static_cast<std::size_t>(blocks) * kThreads);
  const double seconds =
      shortest(stream, [&] { launch(stream, multiply_and_add<Real>, blocks, kThreads, 0, Real(0.5), kSteps, out.data()); });
  return 2.0 * kChains * kSteps * static_cast<double>(out.size()) / seconds;
}

}  // namespace

DeviceSpeed measure_speed(int device) {
  use_device(device);
  const Stream stream;
  DeviceSpeed speed;
  speed.operations_per_second = operations_per_second<float>(stream);
  speed.double_operations_per_second = operations_per_second<double>(stream);
  const DeviceArray<std::byte> from(kCopyBytes);
  DeviceArray<std::byte> to(kCopyBytes);
  const double seconds = shortest(stream, [&] { copy_on_device(to.data(), from.data(), kCopyBytes, stream); });
  speed.bytes_per_second = 2.0 * static_cast<double>(kCopyBytes) / seconds;
  return speed;
}

}  // namespace so3md::cuda
