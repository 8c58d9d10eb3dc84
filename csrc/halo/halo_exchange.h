// How processes share what they own.
#pragma once

namespace so3md {

/// The engine calls these at fixed points of an evaluation; all processes call them in the same order, also those without atoms.
///
/// Nothing flows back: each process gathers what lands on its own atoms (csrc/geometry/domain.h), so the adjoint, too, only needs rows
/// of its neighbours' gradients.
class HaloExchange {
 public:
  virtual ~HaloExchange() = default;

  /// Fills rows n_owned .. n_owned + n_halo - 1 of `values` (row stride `stride`, `width` numbers used) from the processes that own them.
  virtual void forward(float* values, int width, int stride) = 0;
  virtual void forward(double* values, int width, int stride) = 0;

  /// Replaces every value by its sum over all processes.
  virtual void sum(double* values, int count) = 0;
};

/// One process that owns all atoms: nothing to do.
class SerialHalo final : public HaloExchange {
 public:
  void forward(float*, int, int) override {}
  void forward(double*, int, int) override {}
  void sum(double*, int) override {}
};

}  // namespace so3md
