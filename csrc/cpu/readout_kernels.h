// Readouts: atomic energy, raw partial charge and Hirshfeld ratio from the last features (eq. 26, 27, 30 of docs/theory.md), and
// their gradients. What the energy gains by each of them is known later; the gradients of the readouts themselves are not.
#pragma once

#include "cpu/attention_kernels.h"

namespace SO3MD_CPU_NAMESPACE {

/// Buffers of one block of atoms for one head.
template <class Real>
struct ReadoutBuffers {
  Real *hidden, *slope, *output, *projected;
  int hidden_stride, output_stride;

  ReadoutBuffers(const HeadParameters<Real>& head, Real* scratch) {
    hidden_stride = head.hidden ? head.dense1.forward.columns : 0;
    output_stride = head.dense2.forward.columns;
    hidden = scratch;
    slope = hidden + kNodeBlock * hidden_stride;
    output = slope + kNodeBlock * hidden_stride;
    projected = output + kNodeBlock * output_stride;
  }
  static std::size_t size(const Layout& layout) {
    auto larger = [](int a, int b) { return a > b ? a : b; };
    const int hidden = larger(layout.energy_hidden, larger(layout.charge_hidden, larger(layout.hirshfeld_hidden, layout.c6_hidden)));
    const int output = larger(layout.hirshfeld_size, kPanel<Real>);
    return static_cast<std::size_t>(kNodeBlock) * static_cast<std::size_t>(3 * hidden + output);
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

/// A head with one output: value_r = w . act(dense1 x_r) + b, in place of the padded product of head_forward; b.hidden and b.slope keep act
/// and act'.
template <class Real>
inline void scalar_head_value(const HeadParameters<Real>& head, Activation type, int rows, const Real* x, int stride,
                              ReadoutBuffers<Real>& b, double* value) {
  const Real* w = head.dense2.adjoint.weight;  // of depth 1: one row
  const int width = head.dense2.adjoint.columns;
  const Real bias = head.dense2.forward.bias != nullptr ? head.dense2.forward.bias[0] : Real(0);
  if (head.hidden) {
    apply<Real>(head.dense1.forward, rows, x, stride, b.slope, b.hidden_stride);
    activate_keep_slope<Real>(type, rows * b.hidden_stride, b.slope, b.hidden);
  }
  const Real* in = head.hidden ? b.hidden : x;
  const int in_stride = head.hidden ? b.hidden_stride : stride;
  for (int row = 0; row < rows; ++row) value[row] = static_cast<double>(dot<Real>(width, in + row * in_stride, w) + bias);
}

/// After scalar_head_value: its gradient with respect to x_r. Takes the place of b.hidden.
template <class Real>
inline void scalar_head_gradient(const HeadParameters<Real>& head, int rows, ReadoutBuffers<Real>& b, Real* gradient, int gradient_stride) {
  const Real* w = head.dense2.adjoint.weight;
  const int width = head.dense2.adjoint.columns;
  for (int row = 0; row < rows; ++row) {
    if (head.hidden)
      for (int k = 0; k < width; k += kWidth<Real>)
        store<Real>(b.hidden + row * b.hidden_stride + k, load<Real>(b.slope + row * b.hidden_stride + k) * load<Real>(w + k));
    else
      copy_rows<Real>(width, w, gradient + row * gradient_stride);
  }
  if (head.hidden) apply<Real>(head.dense1.adjoint, rows, b.hidden, b.hidden_stride, gradient, gradient_stride);
}

/// Both; `gradient` null: not wanted.
template <class Real>
inline void scalar_head(const HeadParameters<Real>& head, Activation type, int rows, const Real* x, int stride, ReadoutBuffers<Real>& b,
                        double* value, Real* gradient, int gradient_stride) {
  scalar_head_value<Real>(head, type, rows, x, stride, b, value);
  if (gradient != nullptr) scalar_head_gradient<Real>(head, rows, b, gradient, gradient_stride);
}

/// The energy head; between value and gradient, while b.hidden has the hidden values h: d^2 = |factor h|^2, the uncertainty (eq. 107).
template <class Real>
inline void energy_head(const ReadoutStep<Real>& step, int first, int rows, const Real* x, Real* scratch) {
  const Parameters<Real>& p = *step.parameters;
  const int stride = step.layout->feature_stride;
  ReadoutBuffers<Real> b(p.energy, scratch);
  scalar_head_value<Real>(p.energy, step.layout->energy_activation, rows, x, stride, b, step.energy + first);
  if (step.distance != nullptr) {
    apply<Real>(p.uncertainty_factor, rows, b.hidden, b.hidden_stride, b.projected, b.hidden_stride);
    for (int row = 0; row < rows; ++row) {
      const Real* projected = b.projected + row * b.hidden_stride;
      step.distance[first + row] = static_cast<double>(dot<Real>(b.hidden_stride, projected, projected));
    }
  }
  if (step.energy_row != nullptr)
    scalar_head_gradient<Real>(p.energy, rows, b, step.energy_row + static_cast<std::ptrdiff_t>(first) * stride, stride);
}

/// h_r = dense2 act(dense1 x_r) . q of the element (eq. 30), and its gradient, which may take the place of x.
template <class Real>
inline void hirshfeld_head(const ReadoutStep<Real>& step, int first, int rows, const Real* x, Real* scratch) {
  const Layout& layout = *step.layout;
  const HeadParameters<Real>& head = step.parameters->hirshfeld;
  const int stride = layout.feature_stride, size = layout.hirshfeld_size;
  ReadoutBuffers<Real> b(head, scratch);
  head_forward<Real>(head, Activation::silu, rows, x, stride, b);
  for (int row = 0; row < rows; ++row) {
    const Real* query = step.parameters->hirshfeld_query + static_cast<std::ptrdiff_t>(step.species[first + row]) * size;
    Real* output = b.output + row * b.output_stride;
    step.hirshfeld[first + row] = static_cast<double>(dot<Real>(size, output, query));
    copy_rows<Real>(size, query, output);
  }
  if (step.hirshfeld_row == nullptr) return;
  Real* gradient = step.hirshfeld_row + static_cast<std::ptrdiff_t>(first) * stride;
  set_zero_rows<Real>(rows * stride, gradient);
  head_adjoint<Real>(head, rows, b, gradient, stride);
}

template <class Real>
void readout_forward(const ReadoutStep<Real>& step, int begin, int end, Real* scratch) {
  const Layout& layout = *step.layout;
  const Parameters<Real>& p = *step.parameters;
  const int stride = layout.feature_stride;
  for (int first = begin; first < end; first += kNodeBlock) {
    const int rows = end - first < kNodeBlock ? end - first : kNodeBlock;
    const auto place = static_cast<std::ptrdiff_t>(first);
    const Real* x = step.x + place * stride;
    energy_head<Real>(step, first, rows, x, scratch);
    if (step.charge != nullptr) {
      ReadoutBuffers<Real> charge(p.charge, scratch);
      scalar_head<Real>(p.charge, Activation::silu, rows, x, stride, charge, step.charge + first,
                        step.charge_row == nullptr ? nullptr : step.charge_row + place * layout.features_padded, layout.features_padded);
    }
    if (step.c6 != nullptr) {
      ReadoutBuffers<Real> c6(p.c6, scratch);
      scalar_head<Real>(p.c6, Activation::silu, rows, x, stride, c6, step.c6 + first,
                        step.c6_row == nullptr ? nullptr : step.c6_row + place * stride, stride);
    }
    if (step.hirshfeld != nullptr) hirshfeld_head<Real>(step, first, rows, x, scratch);
  }
}

/// gradient += factor row.
template <class Real>
inline void add_scaled(int count, double factor, const Real* row, Real* gradient) {
  const Real scale = static_cast<Real>(factor);
  for (int i = 0; i < count; i += kWidth<Real>) store<Real>(gradient + i, load<Real>(gradient + i) + scale * load<Real>(row + i));
}

template <class Real>
void readout_adjoint(const ReadoutStep<Real>& step, int begin, int end, Real*) {
  const Layout& layout = *step.layout;
  const int count = padded<Real>(layout.features);
  for (int i = begin; i < end; ++i) {
    const auto place = static_cast<std::ptrdiff_t>(i);
    const std::ptrdiff_t offset = place * layout.feature_stride;
    Real* gradient = step.gradient_x + offset;
    const Real scale = static_cast<Real>(step.energy_gradient[i]);
    for (int k = 0; k < count; k += kWidth<Real>) store<Real>(gradient + k, scale * load<Real>(step.energy_row + offset + k));
    if (step.charge_gradient != nullptr)
      add_scaled<Real>(count, step.charge_gradient[i], step.charge_row + place * layout.features_padded, gradient);
    if (step.c6_gradient != nullptr) add_scaled<Real>(count, step.c6_gradient[i], step.c6_row + offset, gradient);
    if (step.hirshfeld_gradient != nullptr) add_scaled<Real>(count, step.hirshfeld_gradient[i], step.hirshfeld_row + offset, gradient);
    for (int k = count; k < layout.feature_stride; ++k) gradient[k] = Real(0);
  }
}

}  // namespace SO3MD_CPU_NAMESPACE
