// Picks the kernels of the architecture so3krates-2022: those for the instruction set of the other kernels.
#include <string>

#include "paper2022/kernels.h"

namespace so3md {

namespace cpu {

#define SO3MD_DECLARE_KERNELS(isa)                              \
  namespace isa {                                               \
  const paper2022::KernelTable<float>& float_paper_kernels();   \
  const paper2022::KernelTable<double>& double_paper_kernels(); \
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

namespace paper2022 {

template <>
const KernelTable<float>& kernels<float>() {
  [[maybe_unused]] const std::string set = so3md::kernels<float>().instruction_set;
#ifdef SO3MD_HAVE_AVX512
  if (set == "avx512") return cpu::avx512::float_paper_kernels();
#endif
#ifdef SO3MD_HAVE_AVX2
  if (set == "avx2") return cpu::avx2::float_paper_kernels();
#endif
  return cpu::portable::float_paper_kernels();
}

template <>
const KernelTable<double>& kernels<double>() {
  [[maybe_unused]] const std::string set = so3md::kernels<double>().instruction_set;
#ifdef SO3MD_HAVE_AVX512
  if (set == "avx512") return cpu::avx512::double_paper_kernels();
#endif
#ifdef SO3MD_HAVE_AVX2
  if (set == "avx2") return cpu::avx2::double_paper_kernels();
#endif
  return cpu::portable::double_paper_kernels();
}

}  // namespace paper2022

}  // namespace so3md
