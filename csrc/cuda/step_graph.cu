#include <cstdlib>

#include "cuda/step_graph.h"

namespace so3md::cuda {

namespace {

// Below, a step is recorded as a graph; from here on the time of its stages is taken, which a graph cannot do. Not measured: chosen so that
// the host has started the kernels of a larger step long before the device is through with them.
constexpr int kGraphAtoms = 5000;

enum class Choice { no, yes, by_size };

Choice choice(const char* variable) {
  const char* value = std::getenv(variable);
  if (value == nullptr || *value == '\0') return Choice::by_size;
  return *value == '0' ? Choice::no : Choice::yes;
}

}  // namespace

StepMode choose_mode(int atoms) {
  const Choice graphs = choice("SO3MD_CUDA_GRAPHS"), stages = choice("SO3MD_CUDA_STAGES");
  const bool small = atoms < kGraphAtoms;
  if (stages == Choice::yes) return {true, false};
  if (graphs == Choice::yes || (graphs == Choice::by_size && small)) return {false, true};
  return {!small && stages != Choice::no, false};
}

}  // namespace so3md::cuda
