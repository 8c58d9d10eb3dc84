// Atoms sorted into bins, so that a search for neighbours looks only at what may be within reach.
#pragma once

#include <array>
#include <vector>

#include "geometry/cell.h"

namespace so3md {

/// A number of whole lattice vectors along each direction.
using Shift = std::array<int, 3>;

using FloatVec3 = std::array<float, 3>;

/// Throws std::invalid_argument, with a finished message, for a cell that is repeated more than a million times within `radius` (A): one in
/// the wrong unit would ask for more images than there is memory for.
void refuse_thin_cell(const Cell& cell, double radius);

/// The bins divide the cell in periodic directions and the extent of the atoms in the others. Atoms are numbered bin by bin, bins along
/// a Morton curve, so that atoms that are close in space mostly have close internal numbers.
///
/// Coordinates are kept in float for speed, but relative to the corner of their bin: rounding does not grow with the system.
class BinGrid {
 public:
  struct Bin {
    std::array<int, 3> place;  ///< in the grid
    int first, count;          ///< its atoms have the internal numbers first .. first + count - 1
    int first_padded;          ///< where its coordinates start in coordinates(k)
    FloatVec3 low, high;       ///< box around its atoms, A, from the corner of the bin
  };

  /// A bin, or a periodic image of one, seen from another bin.
  struct NearbyBin {
    int bin;              ///< index into bins()
    int shift;            ///< number of the image's shift
    FloatVec3 corner;     ///< A, from the corner of the other bin
    FloatVec3 low, high;  ///< box around its atoms, A, from the corner of the other bin
  };

  /// Coordinates of a bin are stored in whole groups of this many, filled up with points at infinity.
  static constexpr int kGroup = 8;

  /// Sorts `n` atoms at `positions` ([n][3], A) for searches up to `radius` (A). Throws std::invalid_argument if the cell is so thin
  /// that the images within the radius are beyond reason.
  BinGrid(int n, const double* positions, const Cell& cell, double radius);

  double radius() const { return radius_; }  ///< of the searches, A
  int n_atoms() const { return static_cast<int>(order_.size()); }
  const std::vector<Bin>& bins() const { return bins_; }

  /// order()[internal number] = the caller's number.
  const std::vector<int>& order() const { return order_; }

  /// By internal number: the lattice vectors that bring an atom into the cell.
  const std::vector<Shift>& wraps() const { return wraps_; }

  /// Component k, A, from the corner of the atom's bin.
  const float* coordinates(int k) const { return coordinates_[k].data(); }

  /// Upper bound, with room to spare, of the error of a distance up to the radius that is computed in float, A.
  double guard() const { return guard_; }

  /// The shifts of all images that a search may meet form a block around zero. They are numbered such that -s has the number
  /// n_shifts() - 1 - number(s); so the zero shift has the number in the middle.
  int n_shifts() const { return (2 * reach_cells_[0] + 1) * (2 * reach_cells_[1] + 1) * (2 * reach_cells_[2] + 1); }
  int zero_shift() const { return n_shifts() / 2; }
  Shift shift(int number) const;

  /// All bins and images of bins with atoms that may be within the radius of an atom of `bin`: first the bins themselves, then the
  /// images by number of the shift; both in the order of bins().
  void find_nearby(const Bin& bin, std::vector<NearbyBin>& nearby) const;

 private:
  using Place = std::array<int, 3>;

  void choose_bins(int n, const Cell& cell, const Vec3& lengths);
  void choose_reach(int n);
  void number_atoms(const std::vector<Place>& places);
  void store_coordinates(const std::vector<Vec3>& from_corner);
  void add_nearby(const Bin& bin, const Place& offset, std::vector<NearbyBin>& nearby) const;
  int flat(const Place& place) const { return (place[2] * n_bins_[1] + place[1]) * n_bins_[0] + place[0]; }

  double radius_;
  double guard_;
  std::array<bool, 3> periodic_;
  std::array<int, 3> n_bins_;
  Matrix3 bin_vectors_;             // edges of a bin, A
  Vec3 bin_heights_;                // distances between the opposite faces of a bin, A
  std::array<int, 3> reach_bins_;   // a search looks so many bins to each side
  std::array<int, 3> reach_cells_;  // which takes it so many cells to each side

  std::vector<int> order_;
  std::vector<Shift> wraps_;
  std::vector<Bin> bins_;    // those that hold atoms
  std::vector<int> bin_at_;  // index into bins_ by flat place; -1: no atoms
  std::array<std::vector<float>, 3> coordinates_;
};

}  // namespace so3md
