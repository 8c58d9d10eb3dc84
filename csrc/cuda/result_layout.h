// All results of an evaluation in one block of memory, so that one copy brings them to the host.
#pragma once

#include <cstddef>

#include "cuda/platform.h"
#include "evaluation/engine.h"

namespace so3md::cuda {

/// Places in the block, in numbers (double). The first of them is the entry of a pair at one place (EdgeBuilder), not a double.
class ResultLayout {
 public:
  static constexpr int kSums = 5;  ///< of each system: network, shifts, ZBL, electrostatics, dispersion

  ResultLayout() = default;
  ResultLayout(const Model& model, int atoms, int systems)
      : atoms_(static_cast<std::size_t>(atoms)),
        charges_(model.hyper.charge_head ? atoms_ : 0),
        ratios_(model.hyper.hirshfeld_head ? atoms_ : 0),
        c6_ratios_(model.hyper.c6_head ? atoms_ : 0),
        systems_(static_cast<std::size_t>(systems)) {}

  __host__ __device__ std::size_t overlap() const { return 0; }
  __host__ __device__ std::size_t sums() const { return 1; }
  __host__ __device__ std::size_t energies() const { return sums() + kSums * systems_; }
  __host__ __device__ std::size_t charges() const { return energies() + atoms_; }
  __host__ __device__ std::size_t hirshfeld_ratios() const { return charges() + charges_; }
  __host__ __device__ std::size_t c6_ratios() const { return hirshfeld_ratios() + ratios_; }
  __host__ __device__ std::size_t forces() const { return c6_ratios() + c6_ratios_; }
  __host__ __device__ std::size_t virials() const { return forces() + 3 * atoms_; }
  std::size_t size() const { return virials() + 9 * atoms_; }

  __host__ __device__ bool has_charges() const { return charges_ > 0; }
  __host__ __device__ bool has_ratios() const { return ratios_ > 0; }
  __host__ __device__ bool has_c6_ratios() const { return c6_ratios_ > 0; }

  int atoms() const { return static_cast<int>(atoms_); }
  int systems() const { return static_cast<int>(systems_); }

  /// Numbers that an evaluation without forces leaves.
  std::size_t size_without_forces() const { return forces(); }

 private:
  std::size_t atoms_ = 0, charges_ = 0, ratios_ = 0, c6_ratios_ = 0, systems_ = 0;
};

/// Rows of atoms to the places of their points, order[i] being the point of atom i; the numbers before them as they are.
void reorder_results(const ResultLayout& layout, int atoms, const int* order, bool forces, const double* from, double* to,
                     const Stream& stream);

/// From the block, on the host.
void unpack_results(const ResultLayout& layout, const double* numbers, bool forces, DomainResults& out);

}  // namespace so3md::cuda
