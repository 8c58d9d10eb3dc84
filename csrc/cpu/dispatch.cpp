// Picks the kernels for the processor that this runs on: of both architectures, of training and of the heat flux.
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#include "cpu/instruction_sets.h"
#include "cpu/processor.h"
#include "heat_flux/kernels.h"
#include "network/kernels.h"
#include "paper2022/kernels.h"
#include "training/kernels.h"

namespace so3md {

namespace cpu {

#define SO3MD_DECLARE_KERNELS(isa)                                \
  namespace isa {                                                 \
  const KernelTable<float>& float_kernels();                      \
  const KernelTable<double>& double_kernels();                    \
  const paper2022::KernelTable<float>& float_paper_kernels();     \
  const paper2022::KernelTable<double>& double_paper_kernels();   \
  const training::KernelTable<float>& float_training_kernels();   \
  const training::KernelTable<double>& double_training_kernels(); \
  const heat_flux::KernelTable& heat_flux_kernels();              \
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
  const paper2022::KernelTable<float>& (*float_paper_kernels)();
  const paper2022::KernelTable<double>& (*double_paper_kernels)();
  const training::KernelTable<float>& (*float_training_kernels)();
  const training::KernelTable<double>& (*double_training_kernels)();
  const heat_flux::KernelTable& (*heat_flux_kernels)();
};

#define SO3MD_KERNELS(isa)                                                                                          \
  cpu::isa::float_kernels, cpu::isa::double_kernels, cpu::isa::float_paper_kernels, cpu::isa::double_paper_kernels, \
      cpu::isa::float_training_kernels, cpu::isa::double_training_kernels, cpu::isa::heat_flux_kernels

// From the plainest to the widest.
const std::vector<InstructionSet>& built_sets() {
  static const std::vector<InstructionSet> sets = {
      {"portable", true, SO3MD_KERNELS(portable)},
#ifdef SO3MD_HAVE_AVX2
      {"avx2", cpu::processor_has_avx2(), SO3MD_KERNELS(avx2)},
#endif
#ifdef SO3MD_HAVE_AVX512
      {"avx512", cpu::processor_has_avx512(), SO3MD_KERNELS(avx512)},
#endif
  };
  return sets;
}

#undef SO3MD_KERNELS

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

std::vector<std::string> built_instruction_sets() {
  std::vector<std::string> names;
  for (const InstructionSet& set : built_sets()) names.push_back(set.name);
  return names;
}

std::vector<std::string> processor_instruction_sets() {
  std::vector<std::string> names = {"portable"};
  if (cpu::processor_has_avx2()) names.push_back("avx2");
  if (cpu::processor_has_avx512()) names.push_back("avx512");
  return names;
}

std::string chosen_instruction_set() { return chosen_set().name; }

template <>
const KernelTable<float>& kernels<float>() {
  return chosen_set().float_kernels();
}

template <>
const KernelTable<double>& kernels<double>() {
  return chosen_set().double_kernels();
}

namespace paper2022 {

template <>
const KernelTable<float>& kernels<float>() {
  return chosen_set().float_paper_kernels();
}

template <>
const KernelTable<double>& kernels<double>() {
  return chosen_set().double_paper_kernels();
}

}  // namespace paper2022

namespace training {

template <>
const KernelTable<float>& kernels<float>() {
  return chosen_set().float_training_kernels();
}

template <>
const KernelTable<double>& kernels<double>() {
  return chosen_set().double_training_kernels();
}

}  // namespace training

namespace heat_flux {

const KernelTable& kernels() { return chosen_set().heat_flux_kernels(); }

}  // namespace heat_flux

}  // namespace so3md
