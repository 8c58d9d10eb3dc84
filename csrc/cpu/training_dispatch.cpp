// Picks the kernels of training: those for the instruction set of the other kernels.
#include <string>

#include "network/kernels.h"
#include "training/kernels.h"

namespace so3md {

namespace cpu {

#define SO3MD_DECLARE_KERNELS(isa)                                       \
  namespace isa {                                                        \
  const so3md::training::KernelTable<float>& float_training_kernels();   \
  const so3md::training::KernelTable<double>& double_training_kernels(); \
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

namespace training {

template <>
const KernelTable<float>& kernels<float>() {
  [[maybe_unused]] const std::string set = so3md::kernels<float>().instruction_set;
#ifdef SO3MD_HAVE_AVX512
  if (set == "avx512") return cpu::avx512::float_training_kernels();
#endif
#ifdef SO3MD_HAVE_AVX2
  if (set == "avx2") return cpu::avx2::float_training_kernels();
#endif
  return cpu::portable::float_training_kernels();
}

template <>
const KernelTable<double>& kernels<double>() {
  [[maybe_unused]] const std::string set = so3md::kernels<double>().instruction_set;
#ifdef SO3MD_HAVE_AVX512
  if (set == "avx512") return cpu::avx512::double_training_kernels();
#endif
#ifdef SO3MD_HAVE_AVX2
  if (set == "avx2") return cpu::avx2::double_training_kernels();
#endif
  return cpu::portable::double_training_kernels();
}

}  // namespace training

}  // namespace so3md
