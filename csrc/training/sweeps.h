// A network in training: batches go through it in four sweeps, their structures shared by threads.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "common/thread_pool.h"
#include "training/kernels.h"
#include "training/memory_pool.h"

namespace so3md::training {

/// Where a batch lies; arrays as in python/so3md/training/batches.py, pairs in the order of their structures.
struct BatchAddresses {
  std::int64_t structures = 0, atoms = 0, pairs = 0;
  const std::int64_t* counts = nullptr;  ///< atoms of each structure
  const std::int64_t *first = nullptr, *second = nullptr;
  const void *basis = nullptr, *phi = nullptr, *harmonics = nullptr;  ///< basis: (2 pairs, basis), values and then slopes

  // For energies and forces only, see Group:
  const std::int64_t* species = nullptr;  ///< null: the four sweeps are asked for
  const void *unit = nullptr, *phi_slope = nullptr, *harmonics_by = nullptr;
};

/// Where a tensor lies, null if the network has none of that name, and the place of its gradient in the vector of all.
struct TensorAddress {
  const void* value = nullptr;
  std::int64_t gradient = 0;
};

/// One batch. Sweeps follow each other: forward, adjoint, tangent, gradient; the arrays of the batch and the tensors must stay where they
/// are. See KernelTable for what is passed; arrays are those of the whole batch.
class Sweeps {
 public:
  Sweeps() = default;
  virtual ~Sweeps() = default;
  Sweeps(const Sweeps&) = delete;
  Sweeps& operator=(const Sweeps&) = delete;
  virtual void forward(const void* x, void* out) = 0;
  virtual void adjoint(const void* by_out, void* by_distance, void* by_phi, void* by_harmonics) = 0;
  virtual void tangent(const void* distance, const void* phi, const void* harmonics, void* out) = 0;
  /// by_basis (2 pairs, basis) may be null. gradients: overwritten.
  virtual void gradient(const void* by_out, void* by_x, void* by_basis, void* gradients) = 0;

  // In place of these, if the batch has species: evaluate, then differentiate. gradients: overwritten.
  virtual void evaluate(void* energies, void* forces) = 0;
  virtual void differentiate(const void* by_energies, const void* by_forces, void* gradients) = 0;
};

/// What batches of one network share: threads and memory. One batch at a time makes use of the threads.
class Network {
 public:
  Network(const Shape& shape, bool double_precision) : shape_(shape), double_precision_(double_precision) {}

  /// tensors: those of the layers one after the other, kTensors each, then scale and bias of the final norm; then, if the batch has
  /// species, kEnergyTensors. The result does not depend on the number of threads. The network must outlive it. Throws std::runtime_error
  /// if threads cannot start.
  std::unique_ptr<Sweeps> begin(const BatchAddresses& batch, const std::vector<TensorAddress>& tensors, std::int64_t gradient_size,
                                int threads);

  const Shape& shape() const { return shape_; }
  MemoryPool& memory() { return memory_; }

 private:
  Shape shape_;
  bool double_precision_;
  std::shared_ptr<ThreadPool> pool_;
  MemoryPool memory_;
};

/// First structures of the groups into which a batch is divided, and their number as the last; a rule that knows of no threads, so that
/// sums over groups do not depend on them. pairs: of each structure.
std::vector<std::int64_t> divide_structures(const std::vector<std::int64_t>& atoms, const std::vector<std::int64_t>& pairs);

}  // namespace so3md::training
