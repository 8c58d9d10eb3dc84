// Readouts: atomic energy, raw partial charge and Hirshfeld ratio from the last features (eq. 26, 27, 30 of docs/theory.md), and
// their gradients.
#pragma once

#include "cpu/attention_kernels.h"

namespace SO3MD_CPU_NAMESPACE {

/// Buffers of one block of atoms for one head.
template <class Real>
struct ReadoutBuffers {
  Real *hidden, *slope, *output;
  int hidden_stride, output_stride;

  ReadoutBuffers(const HeadParameters<Real>& head, Real* scratch) {
    hidden_stride = head.hidden ? head.dense1.forward.columns : 0;
    output_stride = head.dense2.forward.columns;
    hidden = scratch;
    slope = hidden + kNodeBlock * hidden_stride;
    output = slope + kNodeBlock * hidden_stride;
  }
  static std::size_t size(const Layout& layout) {
    auto larger = [](int a, int b) { return a > b ? a : b; };
    const int hidden = larger(layout.energy_hidden, larger(layout.charge_hidden, layout.hirshfeld_hidden));
    const int output = larger(layout.hirshfeld_size, kPanel<Real>);
    return static_cast<std::size_t>(kNodeBlock) * static_cast<std::size_t>(2 * hidden + output);
  }
};

/// b.output = dense2 act(dense1 x), or dense2 x without a hidden layer; b.slope keeps act'.
template <class Real>
inline void head_forward(const HeadParameters<Real>& head, Activation type, int rows, const Real* x, int stride, ReadoutBuffers<Real>& b) {
  if (!head.hidden) {
    apply<Real>(head.dense2.forward, rows, x, stride, b.output, b.output_stride);
    return;
  }
  apply<Real>(head.dense1.forward, rows, x, stride, b.slope, b.hidden_stride);
  activate_keep_slope<Real>(type, rows * b.hidden_stride, b.slope, b.hidden);
  apply<Real>(head.dense2.forward, rows, b.hidden, b.hidden_stride, b.output, b.output_stride);
}

/// x_gradient += transposed head of b.output, which holds the gradient of the head's output.
template <class Real>
inline void head_adjoint(const HeadParameters<Real>& head, int rows, ReadoutBuffers<Real>& b, Real* x_gradient, int stride) {
  if (!head.hidden) {
    add_product<Real>(head.dense2.adjoint, rows, b.output, b.output_stride, x_gradient, stride);
    return;
  }
  apply<Real>(head.dense2.adjoint, rows, b.output, b.output_stride, b.hidden, b.hidden_stride);
  multiply_rows<Real>(rows * b.hidden_stride, b.slope, b.hidden);
  add_product<Real>(head.dense1.adjoint, rows, b.hidden, b.hidden_stride, x_gradient, stride);
}

template <class Real>
void readout_forward(const ReadoutStep<Real>& step, int begin, int end, Real* scratch) {
  const Layout& layout = *step.layout;
  const Parameters<Real>& p = *step.parameters;
  for (int first = begin; first < end; first += kNodeBlock) {
    const int rows = end - first < kNodeBlock ? end - first : kNodeBlock;
    const Real* x = step.x + static_cast<std::ptrdiff_t>(first) * layout.feature_stride;
    ReadoutBuffers<Real> energy(p.energy, scratch);
    head_forward<Real>(p.energy, layout.energy_activation, rows, x, layout.feature_stride, energy);
    for (int row = 0; row < rows; ++row) step.energy[first + row] = static_cast<double>(energy.output[row * energy.output_stride]);
    if (step.charge != nullptr) {
      ReadoutBuffers<Real> charge(p.charge, scratch);
      head_forward<Real>(p.charge, Activation::silu, rows, x, layout.feature_stride, charge);
      for (int row = 0; row < rows; ++row) step.charge[first + row] = static_cast<double>(charge.output[row * charge.output_stride]);
    }
    if (step.hirshfeld != nullptr) {
      ReadoutBuffers<Real> ratio(p.hirshfeld, scratch);
      head_forward<Real>(p.hirshfeld, Activation::silu, rows, x, layout.feature_stride, ratio);
      for (int row = 0; row < rows; ++row)
        step.hirshfeld[first + row] = static_cast<double>(
            dot<Real>(layout.hirshfeld_size, ratio.output + row * ratio.output_stride,
                      p.hirshfeld_query + static_cast<std::ptrdiff_t>(step.species[first + row]) * layout.hirshfeld_size));
    }
  }
}

/// Puts one gradient per row into the first output of a head.
template <class Real>
inline void set_output_gradient(int rows, const double* gradient, ReadoutBuffers<Real>& b) {
  for (int row = 0; row < rows; ++row)
    for (int c = 0; c < b.output_stride; ++c) b.output[row * b.output_stride + c] = c == 0 ? static_cast<Real>(gradient[row]) : Real(0);
}

template <class Real>
void readout_adjoint(const ReadoutStep<Real>& step, int begin, int end, Real* scratch) {
  const Layout& layout = *step.layout;
  const Parameters<Real>& p = *step.parameters;
  const int stride = layout.feature_stride;
  for (int first = begin; first < end; first += kNodeBlock) {
    const int rows = end - first < kNodeBlock ? end - first : kNodeBlock;
    const Real* x = step.x + static_cast<std::ptrdiff_t>(first) * stride;
    Real* gradient = step.gradient_x + static_cast<std::ptrdiff_t>(first) * stride;
    for (int k = 0; k < rows * stride; ++k) gradient[k] = Real(0);
    ReadoutBuffers<Real> energy(p.energy, scratch);
    head_forward<Real>(p.energy, layout.energy_activation, rows, x, stride, energy);
    set_output_gradient<Real>(rows, step.energy_gradient + first, energy);
    head_adjoint<Real>(p.energy, rows, energy, gradient, stride);
    if (step.charge_gradient != nullptr) {
      ReadoutBuffers<Real> charge(p.charge, scratch);
      head_forward<Real>(p.charge, Activation::silu, rows, x, stride, charge);
      set_output_gradient<Real>(rows, step.charge_gradient + first, charge);
      head_adjoint<Real>(p.charge, rows, charge, gradient, stride);
    }
    if (step.hirshfeld_gradient != nullptr) {
      ReadoutBuffers<Real> ratio(p.hirshfeld, scratch);
      head_forward<Real>(p.hirshfeld, Activation::silu, rows, x, stride, ratio);
      for (int row = 0; row < rows; ++row) {
        const Real* query = p.hirshfeld_query + static_cast<std::ptrdiff_t>(step.species[first + row]) * layout.hirshfeld_size;
        for (int k = 0; k < layout.hirshfeld_size; ++k)
          ratio.output[row * ratio.output_stride + k] = static_cast<Real>(step.hirshfeld_gradient[first + row]) * query[k];
      }
      head_adjoint<Real>(p.hirshfeld, rows, ratio, gradient, stride);
    }
  }
}

}  // namespace SO3MD_CPU_NAMESPACE
