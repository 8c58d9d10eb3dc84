#include <algorithm>
#include <string>

#include "cuda/network/attention.h"
#include "cuda/network/first_layer.h"
#include "cuda/network/initial_coordinates.h"
#include "model/model.h"

namespace so3md::cuda {

namespace {

// Bytes of shared memory.
struct SharedMemory {
  std::size_t of_block, of_multiprocessor;
};

// Of the device in use.
SharedMemory shared_memory() {
#if defined(SO3MD_CUDA_EMULATION)
  return {std::size_t{163} * 1024, std::size_t{164} * 1024};  // compute capability 8.0
#else
  int device, of_block, of_multiprocessor;
  check(cudaGetDevice(&device), "asking for the device in use");
  check(cudaDeviceGetAttribute(&of_block, cudaDevAttrMaxSharedMemoryPerBlockOptin, device), "asking for shared memory");
  check(cudaDeviceGetAttribute(&of_multiprocessor, cudaDevAttrMaxSharedMemoryPerMultiprocessor, device), "asking for shared memory");
  return {static_cast<std::size_t>(of_block), static_cast<std::size_t>(of_multiprocessor)};
#endif
}

// A kernel that shares the second maps is taken if at least so many warps of a block share them.
constexpr int kFewestSharingWarps = 5;
constexpr std::size_t kReservedBytes = 1024;  // that the driver takes of every block

// Enough blocks to fill any GPU eight times over, so that the last, partial filling costs little; beyond that, a warp takes several centres
// for the maps that its block has loaded. More than a few would not pay: the maps are 2 % of what four centres read, and rows of
// neighbours are found in the second cache only while the centres that are worked on at the same time are neighbours.
#if defined(SO3MD_CUDA_EMULATION)
constexpr int kWantedWarps = 4;  // so that the small systems of tests have warps with several centres, too
#else
constexpr int kWantedWarps = 132 * 12 * 8;
#endif
constexpr int kMostCentresPerWarp = 4;

template <class Real>
struct Launch {
  void (*kernel)(AttentionStep<Real>);
  bool shared;  // second maps
};

template <class Real>
std::size_t second_maps_bytes(const NetworkLayout& layout) {
  return 2 * static_cast<std::size_t>(layout.hidden_rows) * static_cast<std::size_t>(layout.filter_stride) * sizeof(Real);
}

template <class Real>
std::size_t warp_bytes(const NetworkLayout& layout, bool adjoint) {
  return TileMemory<Real>(layout, adjoint, nullptr).bytes;
}

template <class Real, int kPasses, bool kCommon, bool kShared>
Launch<Real> pick(AttentionKernel kernel) {
  if (kernel == AttentionKernel::forward) return {attention_forward<Real, kPasses, kCommon, kShared>, kShared};
  return {attention_adjoint<Real, kPasses, kCommon, kShared>, kShared};
}

// Warps of a block beside `shared_bytes` for all of them: six where a multiprocessor then has two blocks, which do not wait for each other,
// else as many as there is room for.
int warps_of_block(const SharedMemory& memory, std::size_t shared_bytes, std::size_t per_warp, int most) {
  if (shared_bytes >= memory.of_block) return 0;
  const auto fitting = static_cast<int>(std::min<std::size_t>((memory.of_block - shared_bytes) / per_warp, static_cast<std::size_t>(most)));
  const int half = most / 2;
  const bool two_blocks = 2 * (shared_bytes + static_cast<std::size_t>(half) * per_warp + kReservedBytes) <= memory.of_multiprocessor;
  return two_blocks ? std::min(half, fitting) : fitting;
}

template <class Real>
bool shares_maps(const NetworkLayout& layout, const SharedMemory& memory) {
  return warps_of_block(memory, second_maps_bytes<Real>(layout), warp_bytes<Real>(layout, true), kMostSharingWarps) >= kFewestSharingWarps;
}

template <class Real>
Launch<Real> choose(const NetworkLayout& layout, AttentionKernel kernel, const SharedMemory& memory) {
  if (kernel == AttentionKernel::initial_forward) return {initial_forward<Real>, false};
  if (kernel == AttentionKernel::initial_adjoint) return {initial_adjoint<Real>, false};
  if (kernel == AttentionKernel::first_adjoint) return {first_adjoint<Real>, false};
  if (kernel == AttentionKernel::first_forward) {
    if (layout.passes == 4) return {first_forward<Real, 4>, false};
    return {layout.passes == 2 ? first_forward<Real, 2> : first_forward<Real, 1>, false};
  }
  if (layout.passes == 4) return pick<Real, 4, false, false>(kernel);
  if (layout.passes == 2) return pick<Real, 2, false, false>(kernel);
  const bool common = layout.feature_heads.lanes == kCommonHeadLanes && layout.degree_heads.lanes == kCommonHeadLanes;
  if (!common) return pick<Real, 1, false, false>(kernel);
  if constexpr (std::is_same_v<Real, float>)
    if (shares_maps<Real>(layout, memory)) return pick<Real, 1, true, true>(kernel);
  return pick<Real, 1, true, false>(kernel);
}

}  // namespace

template <class Real>
void check_attention(const NetworkLayout& layout) {
  if (warp_bytes<Real>(layout, true) > shared_memory().of_block)
    throw ModelError("the model's filter networks have radial_basis size " + std::to_string(layout.num_radial) + ", radial_hidden " +
                     std::to_string(layout.radial_hidden) + " and spherical_hidden " + std::to_string(layout.spherical_hidden) +
                     ": what eight edges need does not fit into the shared memory of this GPU; use precision 'mixed', which tabulates the "
                     "radial networks, or device='cpu'");
}

template <class Real>
void run_attention(const Stream& stream, AttentionKernel kernel, AttentionStep<Real> step) {
  const bool general = kernel == AttentionKernel::forward || kernel == AttentionKernel::adjoint;
  const bool forward =
      kernel == AttentionKernel::forward || kernel == AttentionKernel::first_forward || kernel == AttentionKernel::initial_forward;
  if (!general) step.layout = without_filters(step.layout);
  const SharedMemory memory = shared_memory();
  const Launch<Real> chosen = choose<Real>(step.layout, kernel, memory);
  const std::size_t per_warp = warp_bytes<Real>(step.layout, !forward);
  const std::size_t maps = chosen.shared && step.filter.second != nullptr ? second_maps_bytes<Real>(step.layout) : 0;
  const int warps = chosen.shared ? warps_of_block(memory, maps, per_warp, kMostSharingWarps)
                                  : static_cast<int>(std::clamp<std::size_t>(memory.of_block / per_warp, 1, kMostWarps));
  step.centres_per_warp = std::clamp(step.n_owned / kWantedWarps, 1, kMostCentresPerWarp);
  const std::size_t shared = maps + static_cast<std::size_t>(warps) * per_warp;
  launch(stream, chosen.kernel, dim3(count_blocks(step.n_owned, std::int64_t{warps} * step.centres_per_warp)),
         dim3(static_cast<unsigned>(warps * kWarp)), shared, step);
}

template void check_attention<float>(const NetworkLayout&);
template void check_attention<double>(const NetworkLayout&);
template void run_attention<float>(const Stream&, AttentionKernel, AttentionStep<float>);
template void run_attention<double>(const Stream&, AttentionKernel, AttentionStep<double>);

}  // namespace so3md::cuda
