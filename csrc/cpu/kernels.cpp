// All kernels for one instruction set; compiled once for each, with SO3MD_ISA naming it.
#include "cpu/ewald_kernels.h"
#include "cpu/first_layer_kernels.h"
#include "cpu/pair_kernels.h"
#include "cpu/readout_kernels.h"

namespace SO3MD_CPU_NAMESPACE {

namespace {

template <class Real>
std::size_t scratch_size(const Layout& layout, int most_block_rows) {
  auto larger = [](std::size_t a, std::size_t b) { return a > b ? a : b; };
  return larger(AttentionBuffers<Real>::size(layout, most_block_rows),
                larger(NodeBuffers<Real>::size(layout), ReadoutBuffers<Real>::size(layout)));
}

template <class Real>
void layer_norm_rows(const Layout& layout, const NormParameters<Real>& norm, int rows, const Real* x, Real* out) {
  layer_norm<Real>(layout, norm, rows, x, out);
}

template <class Real>
void initial_forward_step(const LayerStep<Real>& step, int begin, int end, Real* scratch) {
  AttentionBuffers<Real> buffers(*step.layout, 0, scratch);
  initial_forward<Real>(step, begin, end, buffers);
}

template <class Real>
void initial_adjoint_step(const LayerStep<Real>& step, int first_block, int last_block, Real* scratch) {
  AttentionBuffers<Real> buffers(*step.layout, 0, scratch);
  for (int block = first_block; block < last_block; ++block) initial_adjoint<Real>(step, step.rim.blocks[block], buffers);
}

template <class Real>
void first_layer_forward_step(const LayerStep<Real>& step, int begin, int end, Real* scratch) {
  AttentionBuffers<Real> buffers(*step.layout, 0, scratch);
  first_layer_forward<Real>(step, begin, end, buffers);
}

template <class Real>
void first_layer_adjoint_step(const LayerStep<Real>& step, int first_block, int last_block, Real* scratch) {
  AttentionBuffers<Real> buffers(*step.layout, 0, scratch);
  for (int block = first_block; block < last_block; ++block) first_layer_adjoint<Real>(step, step.rim.blocks[block], buffers);
}

template <class Real>
void attention_forward(const LayerStep<Real>& step, int first_block, int last_block, Real* scratch) {
  for (int block = first_block; block < last_block; ++block) {
    AttentionBuffers<Real> buffers(*step.layout, step.rim.blocks[block].num_rows(), scratch);
    general_forward<Real>(step, step.rim.blocks[block], buffers);
  }
}

template <class Real>
void attention_adjoint(const LayerStep<Real>& step, int first_block, int last_block, Real* scratch) {
  for (int block = first_block; block < last_block; ++block) {
    AttentionBuffers<Real> buffers(*step.layout, step.rim.blocks[block].num_rows(), scratch);
    general_adjoint<Real>(step, step.rim.blocks[block], buffers);
  }
}

template <class Real>
void gather_forward(const LayerStep<Real>& step, int begin, int end, Real* scratch) {
  AttentionBuffers<Real> buffers(*step.layout, 0, scratch);
  for (int i = begin; i < end; ++i) gather_attended<Real>(step, i, buffers);
}

template <class Real>
void gather_adjoint(const LayerStep<Real>& step, int begin, int end, Real*) {
  for (int i = begin; i < end; ++i) gather_gradients<Real>(step, i);
}

template <class Real>
void exponentials(int count, const Real* x, Real* value) {
  for (int i = 0; i < count; i += kWidth<Real>) store<Real>(value + i, exponential<Real>(load<Real>(x + i)));
}

template <class Real>
KernelTable<Real> make_table() {
#define SO3MD_NAME_OF(token) #token
#define SO3MD_STRING_OF(macro) SO3MD_NAME_OF(macro)
  const EwaldKernels<Real> ewald{ewald_scratch_size<Real>, ewald_waves<Real>, ewald_atoms<Real>};
  return {.instruction_set = SO3MD_STRING_OF(SO3MD_ISA),
          .scratch_size = scratch_size<Real>,
          .normalise = layer_norm_rows<Real>,
          .project = project<Real>,
          .input_norm_adjoint = input_norm_adjoint<Real>,
          .initial_forward = initial_forward_step<Real>,
          .initial_adjoint = initial_adjoint_step<Real>,
          .first_layer_forward = first_layer_forward_step<Real>,
          .first_layer_adjoint = first_layer_adjoint_step<Real>,
          .attention_forward = attention_forward<Real>,
          .attention_adjoint = attention_adjoint<Real>,
          .gather_forward = gather_forward<Real>,
          .gather_adjoint = gather_adjoint<Real>,
          .node_forward = node_forward<Real>,
          .node_adjoint = node_adjoint<Real>,
          .readout_forward = readout_forward<Real>,
          .readout_adjoint = readout_adjoint<Real>,
          .long_range = long_range<Real>,
          .ewald = ewald,
          .exponentials = exponentials<Real>,
          .activations = activate_keep_slope<Real>};
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
