// What the parts of the GPU engine hand to each other: data on the device, rows of other processes, and time.
//
// CudaEngine (cuda/cuda_engine.cu) makes lists, edges, pair physics and sums; CudaNetwork (cuda/network) makes readouts from edges, and
// forces from their gradients. All pointers are of the device unless stated; all work goes through one stream.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "common/stopwatch.h"
#include "cuda/platform.h"
#include "halo/halo_exchange.h"

namespace so3md::cuda {

/// so3md::Domain on the device: sites, slots and full lists by centre mean the same there. The order of the owned atoms follows space.
struct DeviceDomain {
  int n_owned = 0;
  int n_interior = 0;  ///< the first so many owned atoms have no atom of another process in their short list
  int n_near = 0;      ///< distinct atoms of other processes in short lists
  int n_far = 0;       ///< distinct atoms of other processes that are in long lists only
  int n_sites = 0;
  std::int64_t build = 0;             ///< number of the lists; 0: unknown
  const int* slot = nullptr;          ///< [n_sites]
  const int* species = nullptr;       ///< [n_slots] positions in Model::elements
  const double* positions = nullptr;  ///< [n_sites][3], A

  const std::int64_t* short_offsets = nullptr;  ///< [n_owned + 1]; lists may hold sites beyond the cutoff (skin)
  const int* short_sites = nullptr;
  std::int64_t n_short = 0;                    ///< length of the short lists together
  int most_short = 0;                          ///< of one atom
  const std::int64_t* long_offsets = nullptr;  ///< null: every other site is a neighbour (no cutoff, no images)
  const int* long_sites = nullptr;

  __host__ __device__ int n_feature_slots() const { return n_owned + n_near; }
  __host__ __device__ int n_slots() const { return n_owned + n_near + n_far; }
};

/// Directed short-range edges within the cutoff, by centre: those of owned atom i are first[i] .. first[i] + count[i] - 1, in the order of
/// its list. first[i] is where the atom's list starts, so that there are gaps between atoms.
template <class Real>
struct DeviceEdges {
  std::int64_t capacity = 0;                                   ///< rows of the arrays
  int most = 0;                                                ///< no atom has more
  const std::int64_t* first = nullptr;                         ///< [n_owned]
  const int* count = nullptr;                                  ///< [n_owned]
  const int* slot = nullptr;                                   ///< of the neighbour
  const Real *ux = nullptr, *uy = nullptr, *uz = nullptr;      ///< unit vector from the centre to the neighbour
  const double* r = nullptr;                                   ///< distance, A; bonds are stiff: rounding it to float costs 1e-5 eV/A
  const Real *cutoff = nullptr, *cutoff_derivative = nullptr;  ///< phi(r) and dphi/dr
};

/// Numbers of the readouts for owned atoms, or gradients of the energy with respect to them; null: there is no such head, or no gradient.
struct DeviceReadouts {
  double* energy = nullptr;     ///< [n_owned] without scale and shift
  double* charge = nullptr;     ///< [n_owned] without the element's offset
  double* hirshfeld = nullptr;  ///< [n_owned] before the absolute value, without the element's offset
  double* c6 = nullptr;         ///< likewise
};

/// Fills rows of other processes' atoms in arrays on the device (so3md::HaloExchange says what is sent when). A process alone has none,
/// and start() and finish() do nothing.
class DeviceHalo {
 public:
  virtual ~DeviceHalo() = default;
  virtual void start(Reach reach, std::span<const Rows<float>> arrays) = 0;
  virtual void start(Reach reach, std::span<const Rows<double>> arrays) = 0;
  virtual void finish() = 0;
};

class NoDeviceHalo final : public DeviceHalo {
 public:
  void start(Reach, std::span<const Rows<float>>) override {}
  void start(Reach, std::span<const Rows<double>>) override {}
  void finish() override {}
};

/// Books the time of the stream's work since the last call under a stage. Stages are added to a Stopwatch once the work is done.
class StageTimer {
 public:
  virtual ~StageTimer() = default;
  virtual void lap(const char* stage) = 0;
};

class NoStageTimer final : public StageTimer {
 public:
  void lap(const char*) override {}
};

}  // namespace so3md::cuda
