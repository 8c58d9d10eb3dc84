// The kernels of training as C functions, which python/so3md/training/native_steps.py calls with the addresses of PyTorch's arrays:
// the structs of training/kernels.h, filled field by field.
#include <vector>

#include "training/kernels.h"

namespace {

template <class Real>
Real* scratch(const so3md::training::RadialFilterStep<Real>& step) {
  // Kept for the next step: fresh memory costs more than what is done with it.
  thread_local std::vector<Real> memory;
  const std::size_t size = so3md::training::kernels<Real>().scratch_size(step);
  if (memory.size() < size) memory.resize(size);
  return memory.data();
}

}  // namespace

#define SO3MD_EXPORT extern "C" __attribute__((visibility("default")))

#define SO3MD_DEFINE_TRAINING(Real)                                                                     \
  SO3MD_EXPORT void so3md_filter_forward_##Real(const so3md::training::RadialFilterStep<Real>* step) {  \
    so3md::training::kernels<Real>().filter_forward(*step, scratch(*step));                             \
  }                                                                                                     \
  SO3MD_EXPORT void so3md_filter_gradient_##Real(const so3md::training::RadialFilterStep<Real>* step) { \
    so3md::training::kernels<Real>().filter_gradient(*step, scratch(*step));                            \
  }                                                                                                     \
  SO3MD_EXPORT void so3md_sums_forward_##Real(const so3md::training::EdgeSumStep<Real>* step) {         \
    so3md::training::kernels<Real>().sums_forward(*step);                                               \
  }                                                                                                     \
  SO3MD_EXPORT void so3md_sums_adjoint_##Real(const so3md::training::EdgeSumStep<Real>* step) {         \
    so3md::training::kernels<Real>().sums_adjoint(*step);                                               \
  }                                                                                                     \
  SO3MD_EXPORT void so3md_sums_tangent_##Real(const so3md::training::EdgeSumStep<Real>* step) {         \
    so3md::training::kernels<Real>().sums_tangent(*step);                                               \
  }                                                                                                     \
  SO3MD_EXPORT void so3md_sums_gradient_##Real(const so3md::training::EdgeSumStep<Real>* step) {        \
    so3md::training::kernels<Real>().sums_gradient(*step);                                              \
  }

SO3MD_DEFINE_TRAINING(float)
SO3MD_DEFINE_TRAINING(double)
