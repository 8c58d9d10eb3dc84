// Picks the kernels for the processor that this runs on.
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#include "cpu/instruction_sets.h"
#include "network/kernels.h"

namespace so3md {

namespace cpu {

#define SO3MD_DECLARE_KERNELS(isa)             \
  namespace isa {                              \
  const KernelTable<float>& float_kernels();   \
  const KernelTable<double>& double_kernels(); \
  }

SO3MD_DECLARE_KERNELS(portable)
#ifdef SO3MD_HAVE_AVX2
SO3MD_DECLARE_KERNELS(avx2)
#endif
#ifdef SO3MD_HAVE_AVX512
SO3MD_DECLARE_KERNELS(avx512)
#endif

#undef SO3MD_DECLARE_KERNELS

}  // namespace cpu

namespace {

struct InstructionSet {
  std::string name;
  bool supported;  ///< by this processor
  const KernelTable<float>& (*float_kernels)();
  const KernelTable<double>& (*double_kernels)();
};

// From the plainest to the widest.
const std::vector<InstructionSet>& built_sets() {
  static const std::vector<InstructionSet> sets = {
      {"portable", true, cpu::portable::float_kernels, cpu::portable::double_kernels},
#ifdef SO3MD_HAVE_AVX2
      {"avx2", __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"), cpu::avx2::float_kernels, cpu::avx2::double_kernels},
#endif
#ifdef SO3MD_HAVE_AVX512
      {"avx512",
       __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl"),
       cpu::avx512::float_kernels, cpu::avx512::double_kernels},
#endif
  };
  return sets;
}

const InstructionSet& chosen_set() {
  const char* forced = std::getenv("SO3MD_INSTRUCTION_SET");
  if (forced != nullptr && *forced != '\0') {
    std::string known;
    for (const InstructionSet& set : built_sets()) {
      if (set.name == forced && set.supported) return set;
      if (set.supported) known += (known.empty() ? "" : ", ") + set.name;
    }
    throw std::runtime_error("SO3MD_INSTRUCTION_SET is '" + std::string(forced) + "', but this build on this processor has only: " + known +
                             ". Unset the variable or choose one of these.");
  }
  const InstructionSet* best = &built_sets().front();
  for (const InstructionSet& set : built_sets())
    if (set.supported) best = &set;
  return *best;
}

}  // namespace

std::vector<std::string> usable_instruction_sets() {
  std::vector<std::string> names;
  for (const InstructionSet& set : built_sets())
    if (set.supported) names.push_back(set.name);
  return names;
}

template <>
const KernelTable<float>& kernels<float>() {
  return chosen_set().float_kernels();
}

template <>
const KernelTable<double>& kernels<double>() {
  return chosen_set().double_kernels();
}

}  // namespace so3md
