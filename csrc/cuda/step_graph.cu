#include "common/environment.h"
#include "cuda/step_graph.h"

namespace so3md::cuda {

namespace {

// Below, a step is recorded as a graph; from here on the time of its stages is taken, which a graph cannot do. Not measured: chosen so that
// the host has started the kernels of a larger step long before the device is through with them.
constexpr int kGraphAtoms = 5000;

}  // namespace

StepMode choose_mode(int atoms) {
  const auto graphs = environment_switch("SO3MD_CUDA_GRAPHS"), stages = environment_switch("SO3MD_CUDA_STAGES");
  const bool small = atoms < kGraphAtoms;
  if (stages == true) return {true, false};
  if (graphs.value_or(small)) return {false, true};
  return {!small && !stages.has_value(), false};
}

}  // namespace so3md::cuda
