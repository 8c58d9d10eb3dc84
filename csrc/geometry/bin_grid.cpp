#include "geometry/bin_grid.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>

#include "common/number_text.h"

namespace so3md {

namespace {

// Small bins fit the sphere around an atom better, but a bin costs time too: in a homogeneous system bins hold about so many atoms, as far
// as their sides stay between these fractions of the search radius. Measured on water at radii of 5 and 12.5 A.
constexpr double kAtomsPerBin = 24;
constexpr double kSmallestSide = 0.5;
constexpr double kLargestSide = 1;

// Limits the memory for empty bins. Homogeneous systems stay far below; the rest is for clusters in a large periodic cell.
constexpr double kMostBinsPerAtom = 8;

// Morton codes hold 21 bits per direction.
constexpr double kMostBinsPerDirection = 1 << 20;

std::uint64_t spread_bits(std::uint64_t value) {
  std::uint64_t result = 0;
  for (int bit = 0; value >> bit; ++bit) result |= ((value >> bit) & 1) << (3 * bit);
  return result;
}

std::uint64_t morton_code(const std::array<int, 3>& place) {
  return spread_bits(place[0]) | spread_bits(place[1]) << 1 | spread_bits(place[2]) << 2;
}

int floor_divide(int a, int b) { return a >= 0 ? a / b : -((b - 1 - a) / b); }

// Lattice vectors that take a fractional coordinate into 0..1.
int wrap_of(double fraction) {
  const double cells = -std::floor(fraction);
  if (std::abs(cells) > std::numeric_limits<int>::max() / 2) {
    throw std::invalid_argument("a position lies more than 1e9 periodic cells away from the origin: check the units of cell and positions");
  }
  return static_cast<int>(cells);
}

}  // namespace

void refuse_thin_cell(const Cell& cell, double radius) {
  constexpr double kMostImages = 1e6;  // of one atom
  double images = 1;
  for (int k = 0; k < 3; ++k)
    if (cell.periodic(k)) images *= 2 * std::ceil(radius / cell.height(k)) + 1;
  if (images > kMostImages)
    throw std::invalid_argument("the periodic cell is too thin for the cutoff: it is repeated more than a million times within " +
                                number_text(radius) + " A of an atom; shorten lr_cutoff, or check that the cell is given in Angstrom");
}

BinGrid::BinGrid(int n, const double* positions, const Cell& cell, double radius)
    : radius_((refuse_thin_cell(cell, radius), radius)), periodic_{cell.periodic(0), cell.periodic(1), cell.periodic(2)}, wraps_(n) {
  std::vector<Vec3> fractions(n);
  Vec3 low{}, high{};
  for (int i = 0; i < n; ++i) {
    fractions[i] = multiply({positions[3 * i], positions[3 * i + 1], positions[3 * i + 2]}, cell.inverse());
    for (int k = 0; k < 3; ++k) {
      double& fraction = fractions[i][k];
      wraps_[i][k] = periodic_[k] ? wrap_of(fraction) : 0;
      fraction += wraps_[i][k];
      low[k] = i == 0 ? fraction : std::min(low[k], fraction);
      high[k] = i == 0 ? fraction : std::max(high[k], fraction);
    }
  }
  Vec3 lengths;  // of what the bins divide, in units of the lattice vectors
  for (int k = 0; k < 3; ++k) {
    if (periodic_[k]) low[k] = 0;
    lengths[k] = periodic_[k] ? 1 : std::max(high[k] - low[k], radius);
  }
  choose_bins(n, cell, lengths);
  choose_reach(n);

  std::vector<Place> places(n);
  std::vector<Vec3> from_corner(n);
  for (int i = 0; i < n; ++i) {
    Vec3 in_bin;
    for (int k = 0; k < 3; ++k) {
      const double in_grid = (fractions[i][k] - low[k]) * (n_bins_[k] / lengths[k]);
      places[i][k] = std::clamp(static_cast<int>(in_grid), 0, n_bins_[k] - 1);
      in_bin[k] = in_grid - places[i][k];
    }
    from_corner[i] = multiply(in_bin, bin_vectors_);
  }
  number_atoms(places);
  store_coordinates(from_corner);
}

void BinGrid::choose_bins(int n, const Cell& cell, const Vec3& lengths) {
  Vec3 heights;
  for (int k = 0; k < 3; ++k) heights[k] = cell.height(k) * lengths[k];
  const double volume = heights[0] * heights[1] * heights[2];
  const double homogeneous = std::cbrt(kAtomsPerBin * volume / std::max(n, 1));
  const double most_bins = kMostBinsPerAtom * n + 64;
  double product;
  for (double side = std::clamp(homogeneous, kSmallestSide * radius_, kLargestSide * radius_);; side *= 1.2) {
    product = 1;
    for (int k = 0; k < 3; ++k) {
      n_bins_[k] = static_cast<int>(std::clamp(heights[k] / side, 1.0, kMostBinsPerDirection));
      product *= n_bins_[k];
    }
    if (product <= most_bins) break;
  }
  double diagonal = 0;
  for (int k = 0; k < 3; ++k) {
    const double scale = lengths[k] / n_bins_[k];
    bin_heights_[k] = cell.height(k) * scale;
    for (int c = 0; c < 3; ++c) bin_vectors_[k][c] = cell.vectors()[k][c] * scale;
    diagonal += std::hypot(bin_vectors_[k][0], bin_vectors_[k][1], bin_vectors_[k][2]);
  }
  // A float is rounded by at most 2^-24 of itself. The coordinates, the corner, their differences and the square sum to less
  // than 2^-24 (9 diagonal + 6 radius); this is 16 / 9 of that or more, and covers the rounding in double too.
  guard_ = 1e-6 * (diagonal + radius_);
}

void BinGrid::choose_reach(int n) {
  double images = 1;
  for (int k = 0; k < 3; ++k) {
    const double bins = std::floor((radius_ + 2 * guard_) / bin_heights_[k]) + 1;
    const double cells = periodic_[k] ? std::ceil(bins / n_bins_[k]) : 0;
    images *= 2 * cells + 1;
    reach_bins_[k] = static_cast<int>(bins);
    reach_cells_[k] = static_cast<int>(cells);
  }
  if (images * n > std::numeric_limits<int>::max()) {
    throw std::invalid_argument("too many atoms: " + std::to_string(n) + " atoms and their periodic images within " + number_text(radius_) +
                                " A exceed 2^31 sites; shorten lr_cutoff, or split the system over several processes");
  }
}

void BinGrid::number_atoms(const std::vector<Place>& places) {
  const int n = static_cast<int>(places.size());
  std::vector<int> counts(static_cast<std::size_t>(n_bins_[0]) * n_bins_[1] * n_bins_[2]);
  struct Occupied {
    std::uint64_t code;
    Place place;
  };
  std::vector<Occupied> occupied;
  for (const Place& place : places) {
    if (counts[flat(place)]++ == 0) occupied.push_back({morton_code(place), place});
  }
  std::sort(occupied.begin(), occupied.end(), [](const Occupied& a, const Occupied& b) { return a.code < b.code; });

  bin_at_.assign(counts.size(), -1);
  int first = 0;
  int first_padded = 0;
  for (const auto& [code, place] : occupied) {
    const int count = counts[flat(place)];
    bin_at_[flat(place)] = static_cast<int>(bins_.size());
    bins_.push_back({place, first, count, first_padded, {}, {}});
    first += count;
    first_padded += (count + kGroup - 1) / kGroup * kGroup;
  }

  order_.resize(n);
  std::vector<Shift> wraps(n);
  std::vector<int> filled(bins_.size());
  for (int i = 0; i < n; ++i) {
    const int bin = bin_at_[flat(places[i])];
    const int internal = bins_[bin].first + filled[bin]++;
    order_[internal] = i;
    wraps[internal] = wraps_[i];
  }
  wraps_ = std::move(wraps);
}

void BinGrid::store_coordinates(const std::vector<Vec3>& from_corner) {
  const int size = bins_.empty() ? 0 : bins_.back().first_padded + (bins_.back().count + kGroup - 1) / kGroup * kGroup;
  for (int k = 0; k < 3; ++k) {
    coordinates_[k].assign(size, std::numeric_limits<float>::infinity());
    for (Bin& bin : bins_) {
      float* target = coordinates_[k].data() + bin.first_padded;
      for (int j = 0; j < bin.count; ++j) target[j] = static_cast<float>(from_corner[order_[bin.first + j]][k]);
      const auto [low, high] = std::minmax_element(target, target + bin.count);
      bin.low[k] = *low;
      bin.high[k] = *high;
    }
  }
}

Shift BinGrid::shift(int number) const {
  Shift result;
  for (int k = 0; k < 3; ++k) {
    const int width = 2 * reach_cells_[k] + 1;
    result[k] = number % width - reach_cells_[k];
    number /= width;
  }
  return result;
}

void BinGrid::find_nearby(const Bin& bin, std::vector<NearbyBin>& nearby) const {
  nearby.clear();
  Place low, high;
  for (int k = 0; k < 3; ++k) {
    low[k] = periodic_[k] ? -reach_bins_[k] : std::max(-reach_bins_[k], -bin.place[k]);
    high[k] = periodic_[k] ? reach_bins_[k] : std::min(reach_bins_[k], n_bins_[k] - 1 - bin.place[k]);
  }
  for (int z = low[2]; z <= high[2]; ++z) {
    for (int y = low[1]; y <= high[1]; ++y) {
      for (int x = low[0]; x <= high[0]; ++x) add_nearby(bin, {x, y, z}, nearby);
    }
  }
  const int zero = zero_shift();
  std::sort(nearby.begin(), nearby.end(), [zero](const NearbyBin& a, const NearbyBin& b) {
    if (a.shift == b.shift) return a.bin < b.bin;
    return a.shift == zero || (b.shift != zero && a.shift < b.shift);
  });
}

void BinGrid::add_nearby(const Bin& bin, const Place& offset, std::vector<NearbyBin>& nearby) const {
  Place place;
  int shift = 0;
  for (int k = 2; k >= 0; --k) {
    const int cells = periodic_[k] ? floor_divide(bin.place[k] + offset[k], n_bins_[k]) : 0;
    place[k] = bin.place[k] + offset[k] - cells * n_bins_[k];
    shift = shift * (2 * reach_cells_[k] + 1) + cells + reach_cells_[k];
  }
  const int other = bin_at_[flat(place)];
  if (other < 0) return;

  // Opposite offsets give exactly opposite corners, so that a distance is the same number from both of its ends: lists are symmetric.
  const Vec3 corner = multiply({double(offset[0]), double(offset[1]), double(offset[2])}, bin_vectors_);
  NearbyBin result{other, shift, {}, {}, {}};
  double gap_squared = 0;
  for (int k = 0; k < 3; ++k) {
    result.corner[k] = static_cast<float>(corner[k]);
    result.low[k] = bins_[other].low[k] + result.corner[k];
    result.high[k] = bins_[other].high[k] + result.corner[k];
    const double gap = std::max({0.0f, result.low[k] - bin.high[k], bin.low[k] - result.high[k]});
    gap_squared += gap * gap;
  }
  const double reach = radius_ + 2 * guard_;
  if (gap_squared <= reach * reach) nearby.push_back(result);
}

}  // namespace so3md
