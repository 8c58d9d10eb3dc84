// How processes share what they own.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>

namespace so3md {

/// Rows of numbers by slot (csrc/geometry/domain.h): `width` numbers used of each `stride`.
template <class Real>
struct Rows {
  Real* values = nullptr;
  int width = 0;
  int stride = 0;
};

struct HaloPlan;

/// Which rows of other processes' atoms an exchange fills: those with features, or all.
enum class Reach { near, all };

/// The owned atoms of all processes as rows, one process after the other.
struct AllRows {
  int first = 0;  ///< row of the first owned atom of this process
  int total = 0;
};

/// The engine calls these at fixed points of an evaluation; all processes call them in the same order, also those without atoms.
///
/// Nothing flows back: each process works out what lands on its own atoms (csrc/geometry/domain.h), so the adjoint, too, only needs rows
/// of its neighbours' gradients.
class HaloExchange {
 public:
  virtual ~HaloExchange() = default;

  /// Starts to fill the rows of other processes' atoms in all `arrays` at once, from the rows of their owners. Until finish(), owned rows
  /// may be read but not written, and the rows to be filled may not be touched. One exchange at a time.
  virtual void start(Reach reach, std::span<const Rows<float>> arrays) = 0;
  virtual void start(Reach reach, std::span<const Rows<double>> arrays) = 0;
  virtual void finish() = 0;

  /// Which rows an exchange sends and fills, for arrays that lie elsewhere, on a GPU; null: this process is alone.
  virtual const HaloPlan* plan_of(Reach) const { return nullptr; }

  /// As start(), of rows that the caller packs: `row_bytes` for each of the plan's send_rows in their order, and as many come for each of
  /// its receive_rows. Both must stay in place until finish(). Not for a process alone.
  virtual void start_packed(Reach, std::size_t /*row_bytes*/, std::byte* /*send*/, std::byte* /*receive*/) {}

  /// Replaces every value by its sum over all processes; the same bits on each.
  virtual void sum(double* values, int count) = 0;

  /// Where the owned atoms of this process stand among those of all.
  virtual AllRows all_rows(int n_owned) const = 0;

  /// Copies the rows of the owned atoms of all processes, without gaps, to `all` ([AllRows::total][width]).
  virtual void gather(int n_owned, const Rows<const float>& rows, float* all) = 0;
  virtual void gather(int n_owned, const Rows<const double>& rows, double* all) = 0;
};

/// Rows without the gaps between them.
template <class Real>
void copy_rows(int count, const Rows<const Real>& rows, Real* to) {
  for (int row = 0; row < count; ++row)
    std::copy_n(rows.values + static_cast<std::ptrdiff_t>(row) * rows.stride, rows.width,
                to + static_cast<std::ptrdiff_t>(row) * rows.width);
}

/// One process that owns all atoms: nothing to do.
class SerialHalo final : public HaloExchange {
 public:
  void start(Reach, std::span<const Rows<float>>) override {}
  void start(Reach, std::span<const Rows<double>>) override {}
  void finish() override {}
  void sum(double*, int) override {}
  AllRows all_rows(int n_owned) const override { return {0, n_owned}; }
  void gather(int n_owned, const Rows<const float>& rows, float* all) override { copy_rows(n_owned, rows, all); }
  void gather(int n_owned, const Rows<const double>& rows, double* all) override { copy_rows(n_owned, rows, all); }
};

}  // namespace so3md
