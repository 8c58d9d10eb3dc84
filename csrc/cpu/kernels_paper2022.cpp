// The kernels of the architecture so3krates-2022 for one instruction set; compiled once for each, with SO3MD_ISA naming it.
#include "cpu/paper2022_block_pairs.h"
#include "cpu/paper2022_edges.h"
#include "cpu/paper2022_nodes.h"
#include "cpu/paper2022_normalise.h"

namespace SO3MD_CPU_NAMESPACE {

namespace {

template <class Real>
std::size_t paper_scratch_size(const paper2022::Parameters<Real>& parameters) {
  auto larger = [](std::size_t a, std::size_t b) { return a > b ? a : b; };
  return larger(larger(paper::edge_scratch_size<Real>(parameters), paper::block_pair_scratch_size<Real>(parameters)),
                larger(paper::NodeBlock<Real>::size(parameters), ReadoutBuffers<Real>::size(parameters.layout)));
}

template <class Real>
void paper_initial_forward(const paper2022::InitialStep<Real>& step, int begin, int end, Real* scratch) {
  for (int i = begin; i < end; ++i) paper::initial_coordinates<Real>(step, i, scratch);
}

template <class Real>
void paper_initial_adjoint(const paper2022::InitialStep<Real>& step, int begin, int end, Real* scratch) {
  for (int i = begin; i < end; ++i) paper::initial_coordinates_adjoint<Real>(step, i, scratch);
}

template <class Real>
void paper_attention_forward(const paper2022::LayerStep<Real>& step, int begin, int end, Real* scratch) {
  for (int i = begin; i < end; ++i) paper::attend<Real>(step, i, scratch);
}

template <class Real>
void paper_attention_adjoint(const paper2022::LayerStep<Real>& step, int begin, int end, Real* scratch) {
  for (int i = begin; i < end; ++i) paper::attend_adjoint<Real>(step, i, scratch);
}

template <class Real>
paper2022::KernelTable<Real> make_paper_table() {
  return {.scratch_size = paper_scratch_size<Real>,
          .initial_forward = paper_initial_forward<Real>,
          .initial_adjoint = paper_initial_adjoint<Real>,
          .project = paper::project_step<Real>,
          .attention_forward = paper_attention_forward<Real>,
          .attention_adjoint = paper_attention_adjoint<Real>,
          .node_forward = paper::node_forward_step<Real>,
          .node_adjoint = paper::node_adjoint_step<Real>,
          .project_adjoint = paper::project_adjoint_step<Real>,
          .readout_forward = paper::energy_forward<Real>,
          .readout_adjoint = paper::energy_adjoint<Real>,
          .normalise = paper::normalise_step<Real>,
          .normalise_adjoint = paper::normalise_adjoint_step<Real>,
          .nonlocal_forward = paper::nonlocal_forward_step<Real>,
          .nonlocal_adjoint = paper::nonlocal_adjoint_step<Real>};
}

}  // namespace

const paper2022::KernelTable<float>& float_paper_kernels() {
  static const paper2022::KernelTable<float> table = make_paper_table<float>();
  return table;
}

const paper2022::KernelTable<double>& double_paper_kernels() {
  static const paper2022::KernelTable<double> table = make_paper_table<double>();
  return table;
}

}  // namespace SO3MD_CPU_NAMESPACE
