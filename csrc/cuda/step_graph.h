// The work of a step as a graph, where steps repeat: starting some seventy kernels one by one takes the host longer than small systems take
// the device.
#pragma once

#include <cstdint>
#include <vector>

#include "cuda/device_array.h"

namespace so3md::cuda {

/// How the work of a step is given to the device.
struct StepMode {
  bool timed;  ///< with the time of its stages
  bool graph;  ///< recorded, where steps repeat
};

/// For a system of so many atoms, from SO3MD_CUDA_GRAPHS and SO3MD_CUDA_STAGES (docs/gpu.md).
StepMode choose_mode(int atoms);

/// What the kernels of a step depend on, beside the numbers in arrays of the device.
struct StepKey {
  std::int64_t lists = 0;
  bool forces = false;
  double charge = 0.0, spin = 0.0;
  std::vector<double> composition;  ///< number of atoms of each species
  int waves = 0;                    ///< of the Ewald sum
  bool operator==(const StepKey&) const = default;
};

class StepGraph {
 public:
  /// Calls `work`, which gives the work of a step to the stream, or repeats what it gave for the same key: the second step in a row is
  /// recorded, so that arrays have their sizes. What `work` does on the host must be the same each time.
  template <class Work>
  void run(const StepKey& key, const Stream& stream, const Work& work) {
    const bool same = key == key_ && allocations_ == count_allocations();
    if (!same) forget();
    if (same && !graph_.recorded() && !refused_) record(stream, work);
    if (same && graph_.recorded()) {
      repeat(stream);
      return;
    }
    work();
    key_ = key;
    allocations_ = count_allocations();
  }

  /// Before any other evaluation, which may change what the recorded work reads.
  void forget() {
    graph_.clear();
    key_ = {};
  }

 private:
  template <class Work>
  void record(const Stream& stream, const Work& work) {
    const DeviceWork before = stream.work();
    try {
      graph_.record(stream, work);
    } catch (const DeviceError&) {
      refused_ = true;  // the step is done without
    }
    recorded_ = {stream.work().kernels - before.kernels, stream.work().copies - before.copies, 0, true};
    stream.work() = before;
  }

  void repeat(const Stream& stream) {
    graph_.run(stream);
    stream.work().kernels += recorded_.kernels;
    stream.work().copies += recorded_.copies;
    stream.work().replay = true;
  }

  Graph graph_;
  DeviceWork recorded_;
  StepKey key_;  // of the last step
  std::int64_t allocations_ = -1;
  bool refused_ = false;
};

}  // namespace so3md::cuda
