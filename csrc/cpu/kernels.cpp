// All kernels for one instruction set; compiled once for each, with SO3MD_ISA naming it.
#include "cpu/first_layer_kernels.h"
#include "cpu/pair_kernels.h"
#include "cpu/readout_kernels.h"

namespace SO3MD_CPU_NAMESPACE {

namespace {

template <class Real>
std::size_t scratch_size(const Layout& layout) {
  auto larger = [](std::size_t a, std::size_t b) { return a > b ? a : b; };
  return larger(AttentionBuffers<Real>::size(layout), larger(NodeBuffers<Real>::size(layout), ReadoutBuffers<Real>::size(layout)));
}

template <class Real>
void attention_forward(const LayerStep<Real>& step, int begin, int end, Real* scratch) {
  AttentionBuffers<Real> buffers(*step.layout, scratch);
  if (step.first_layer != nullptr)
    first_layer_forward<Real>(step, begin, end, buffers);
  else
    general_forward<Real>(step, begin, end, buffers);
}

template <class Real>
void attention_adjoint(const LayerStep<Real>& step, int begin, int end, Real* scratch) {
  AttentionBuffers<Real> buffers(*step.layout, scratch);
  if (step.first_layer != nullptr)
    first_layer_adjoint<Real>(step, begin, end, buffers);
  else
    general_adjoint<Real>(step, begin, end, buffers);
}

template <class Real>
KernelTable<Real> make_table() {
#define SO3MD_NAME_OF(token) #token
#define SO3MD_STRING_OF(macro) SO3MD_NAME_OF(macro)
  return {SO3MD_STRING_OF(SO3MD_ISA), scratch_size<Real>, project<Real>,         attention_forward<Real>, attention_adjoint<Real>,
          node_forward<Real>,         node_adjoint<Real>, readout_forward<Real>, readout_adjoint<Real>,   long_range<Real>};
}

}  // namespace

const KernelTable<float>& float_kernels() {
  static const KernelTable<float> table = make_table<float>();
  return table;
}

const KernelTable<double>& double_kernels() {
  static const KernelTable<double> table = make_table<double>();
  return table;
}

}  // namespace SO3MD_CPU_NAMESPACE
