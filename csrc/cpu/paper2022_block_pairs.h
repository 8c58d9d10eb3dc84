// Attention in the space of chi between atoms beyond the cutoff (eq. 66 of docs/theory.md), a pair of blocks of atoms at a time. Nothing is
// kept of a pair of atoms, which is evaluated once for both.
#pragma once

#include "cpu/paper2022_normalise.h"
#include "cpu/paper2022_pairs.h"

namespace SO3MD_CPU_NAMESPACE::paper {

/// Closer than this fraction to the cutoff, the list of edges decides on which side a pair is: two ways to compute a distance may differ.
inline constexpr double kCutoffMargin = 1e-9;

/// Whether the atom at a place is in the list of edges of an owned atom.
template <class Real>
inline bool has_edge(const Nonlocal<Real>& step, int owned, int place) {
  const EdgeView<Real>& edges = step.layer.edges;
  for (std::int64_t edge = edges.first[owned]; edge < edges.first[owned] + edges.count[owned]; ++edge)
    if (step.row_of_slot[edges.slot[edge]] == step.row[place]) return true;
  return false;
}

inline Vec<double> nearest_integer(Vec<double> value) {
  constexpr double shifter = 6755399441055744.0;  // 1.5 * 2^52
  return (value + shifter) - shifter;
}

/// The vectors in a register become their nearest images.
inline void take_nearest_images(const paper2022::MinimumImage& image, Vec<double> (&r)[3]) {
  Vec<double> shift[3];
  for (int k = 0; k < 3; ++k) {
    const Vec<double> fraction = r[0] * image.inverse[0][k] + r[1] * image.inverse[1][k] + r[2] * image.inverse[2][k];
    shift[k] = image.periodic[k] ? nearest_integer(fraction) : Vec<double>{};
  }
  for (int k = 0; k < 3; ++k) r[k] -= shift[0] * image.vectors[0][k] + shift[1] * image.vectors[1][k] + shift[2] * image.vectors[2][k];
  if (image.num_others == 0) return;
  const Vec<double> x = r[0], y = r[1], z = r[2];
  Vec<double> shortest = x * x + y * y + z * z;
  for (int number = 0; number < image.num_others; ++number) {
    const double* other = image.others[number];
    const Vec<double> dx = x + other[0], dy = y + other[1], dz = z + other[2];
    const Vec<double> squared = dx * dx + dy * dy + dz * dz;
    const VecInt<double> nearer = squared < shortest;
    shortest = nearer ? squared : shortest;
    r[0] = nearer ? dx : r[0];
    r[1] = nearer ? dy : r[1];
    r[2] = nearer ? dz : r[2];
  }
}

/// What a row of pairs of one atom with those of a block is looked at by; lanes behind the last one are unspecified.
template <class Real>
struct PairRow {
  static constexpr int kStride = kChiBlock + 64 / static_cast<int>(sizeof(float));  // whole registers from any place on
  alignas(64) Real total[kStride];                                                  ///< squares of distances in the space of chi
  alignas(64) Real delta[kMaxDegrees * kStride];                                    ///< likewise, by degree
  alignas(64) VecInt<Real> inside[kStride / kWidth<Real>];  ///< -1: one atom is in the ball of the other, 0: none is
  int found[kStride];                                       ///< numbers of lanes
  alignas(64) double x[kStride];                            ///< vectors to the atom
  alignas(64) double y[kStride];
  alignas(64) double z[kStride];
  alignas(64) double squared[kStride];  ///< their lengths

  void set_chi(const Nonlocal<Real>& step, const Real* chi, Real ball, int begin, int count) {
    const Layout& layout = *step.layer.layout;
    const std::ptrdiff_t stride = step.column_stride;
    for (int lane = 0; lane < count; lane += kWidth<Real>) {
      const Real* column = step.chi_columns + begin + lane;
      Vec<Real> all = Vec<Real>{};
      for (int d = 0, m = 0; d < layout.num_degrees; ++d) {
        Vec<Real> squares = Vec<Real>{};
        for (const int end = m + 2 * layout.degree[d] + 1; m < end; ++m, column += stride) {
          const Vec<Real> difference = load<Real>(column) - chi[m];
          squares += difference * difference;
        }
        store<Real>(delta + d * kStride + lane, squares);
        all += squares;
      }
      store<Real>(total + lane, all);
      const Vec<Real> reach = maximum<Real>(broadcast<Real>(ball), load<Real>(step.ball + begin + lane));
      const VecInt<Real> within = (all < reach * reach) & (reach > Real(0));
      inside[lane / kWidth<Real>] = within;
    }
  }

  /// Lists the lanes inside, or all of them; returns how many. Without branches, which nobody could predict.
  int find_inside(int count, bool only_inside) {
    alignas(64) std::conditional_t<sizeof(Real) == sizeof(float), std::int32_t, std::int64_t> mask[kStride];
    __builtin_memcpy(mask, inside, sizeof(mask));
    int size = 0;
    for (int k = 0; k < count; ++k) {
      found[size] = k;
      size += only_inside ? static_cast<int>(-mask[k]) : 1;
    }
    return size;
  }

  void set_vectors(const double* positions, const double* own, const paper2022::MinimumImage& image, int count) {
    for (int k = 0; k < count; ++k) {
      x[k] = own[0] - positions[3 * k];
      y[k] = own[1] - positions[3 * k + 1];
      z[k] = own[2] - positions[3 * k + 2];
    }
    for (int k = count; k % kWidth<double> != 0; ++k) x[k] = y[k] = z[k] = 0.0;
    for (int k = 0; k < count; k += kWidth<double>) {
      Vec<double> r[3] = {load<double>(x + k), load<double>(y + k), load<double>(z + k)};
      if (image.any) take_nearest_images(image, r);
      store<double>(x + k, r[0]);
      store<double>(y + k, r[1]);
      store<double>(z + k, r[2]);
      store<double>(squared + k, r[0] * r[0] + r[1] * r[1] + r[2] * r[2]);
    }
  }
};

/// The pairs of two blocks, in tiles, and the sums that their atoms get: rows of the first block, and from row kChiBlock on those of
/// another one.
template <class Real>
class BlockPair {
 public:
  /// `sums`: scratch for rows of both blocks like those of the step.
  BlockPair(const Nonlocal<Real>& step, const paper2022::ChiBlockPair& pair, int width, Real* sums)
      : step_(step),
        pair_(pair),
        first_(step.blocks[pair.first]),
        second_(step.blocks[pair.second]),
        offset_(pair.first == pair.second ? 0 : kChiBlock),
        width_(width),
        chi_stride_(step.layer.layout->chi_stride),
        sums_(sums) {}

  /// Calls body(tile) for the pairs of which one atom is in the other's ball, or for all.
  template <class Body>
  void for_tiles(const Body& body) {
    if (step_.skip && box_distance() >= reach(step_.block_ball[pair_.first])) return;
    clear<Real>((offset_ + second_.end - second_.begin) * width_, sums_);
    has_sums_ = true;
    PairLanes<Real> tile;
    for (int place = first_.begin; place < first_.end; ++place) {
      const Real* chi = step_.chi + std::ptrdiff_t{place} * chi_stride_;
      if (step_.skip && paper::box_distance<Real>(step_, chi, chi, pair_.second) >= reach(step_.ball[place])) continue;
      const int begin = pair_.first == pair_.second ? place + 1 : second_.begin;
      count_measured(place, begin);
      row_.set_chi(step_, chi, step_.ball[place], begin, second_.end - begin);
      row_.set_vectors(step_.positions + 3 * std::ptrdiff_t{begin}, step_.positions + 3 * std::ptrdiff_t{place}, *pair_.image,
                       second_.end - begin);
      const int found = row_.find_inside(second_.end - begin, step_.skip);
      for (int number = 0; number < found; ++number) {
        const int k = row_.found[number], other = begin + k;
        if (is_within_cutoff(place, other, row_.squared[k])) continue;
        if (!is_owned(place) && !is_owned(other)) continue;
        add(place, other, k, tile);
        if (tile.count < kPairs) continue;
        body(tile);
        tile.count = 0;
      }
    }
    if (tile.count > 0) body(tile);
  }

  /// Adds the sums of this pair of blocks to those of the step.
  void add_sums() const {
    if (!has_sums_) return;
    step_.measured[first_.begin] += measured_;
    step_.evaluated[first_.begin] += evaluated_;
    add_rows(first_, 0);
    if (offset_ != 0) add_rows(second_, offset_);
  }

 private:
  double squared_cutoff(double factor) const { return factor * step_.cutoff * factor * step_.cutoff; }

  Real reach(Real ball) const {
    const Real other = step_.block_ball[pair_.second];
    return ball > other ? ball : other;
  }

  /// Lower bound of the distances between atoms of both blocks.
  Real box_distance() const {
    const std::ptrdiff_t row = std::ptrdiff_t{pair_.first} * chi_stride_;
    return paper::box_distance<Real>(step_, step_.box_low + row, step_.box_high + row, pair_.second);
  }

  bool is_owned(int place) const { return step_.owned[place] >= 0; }

  void count_measured(int place, int begin) {
    for (int other = begin; other < second_.end; ++other) measured_ += int{is_owned(place)} + int{is_owned(other)};
  }

  bool is_within_cutoff(int place, int other, double squared) const {
    if (squared >= most_) return false;
    if (squared < least_) return true;
    return is_owned(place) ? has_edge<Real>(step_, step_.owned[place], other) : has_edge<Real>(step_, step_.owned[other], place);
  }

  void add(int place, int other, int k, PairLanes<Real>& tile) {
    const int p = tile.count++;
    tile.first[p] = place;
    tile.second[p] = other;
    tile.first_row[p] = (place - first_.begin) * width_;
    tile.second_row[p] = (other - second_.begin + offset_) * width_;
    tile.x[p] = static_cast<Real>(row_.x[k]);
    tile.y[p] = static_cast<Real>(row_.y[k]);
    tile.z[p] = static_cast<Real>(row_.z[k]);
    tile.total[p] = row_.total[k];
    for (int d = 0; d < num_degrees_; ++d) tile.delta[d][p] = row_.delta[d * PairRow<Real>::kStride + k];
    tile.radius_first[p] = step_.ball[place];
    tile.radius_second[p] = step_.ball[other];
    evaluated_ += int{is_owned(place)} + int{is_owned(other)};
  }

  void add_rows(const paper2022::ChiBlock& block, int number) const {
    const Real* from = sums_ + number * width_;
    double* to = step_.sums + std::ptrdiff_t{block.begin} * width_;
    for (int k = 0; k < (block.end - block.begin) * width_; ++k) to[k] += static_cast<double>(from[k]);
  }

  const Nonlocal<Real>& step_;
  const paper2022::ChiBlockPair& pair_;
  paper2022::ChiBlock first_, second_;
  int offset_, width_, chi_stride_;
  Real* sums_;
  bool has_sums_ = false;
  const int num_degrees_ = step_.layer.layout->num_degrees;
  const double least_ = squared_cutoff(1.0 - kCutoffMargin), most_ = squared_cutoff(1.0 + kCutoffMargin);
  std::int64_t measured_ = 0, evaluated_ = 0;
  PairRow<Real> row_;
};

template <class Real>
std::size_t block_pair_scratch_size(const paper2022::Parameters<Real>& parameters) {
  return PairTiles<Real>::size(parameters) +
         static_cast<std::size_t>(2 * kChiBlock * paper2022::adjoint_sums(parameters.layout, false).width);
}

/// Calls body(pair of blocks, what works on its tiles) for a range of pairs of blocks.
template <class Real, class Body>
inline void for_block_pairs(const Nonlocal<Real>& step, const paper2022::NonlocalSums& at, int begin, int end, Real* scratch,
                            const Body& body) {
  Real* const sums = scratch + PairTiles<Real>::size(*step.layer.all_parameters);
  PairTiles<Real> work(step, at, sums, scratch);
  for (int number = begin; number < end; ++number) {
    BlockPair<Real> blocks(step, step.pairs[number], at.width, sums);
    body(blocks, work);
    blocks.add_sums();
  }
}

template <class Real>
void nonlocal_forward_step(const Nonlocal<Real>& step, int begin, int end, Real* scratch) {
  for_block_pairs<Real>(
      step, paper2022::forward_sums(*step.layer.layout), begin, end, scratch,
      [](BlockPair<Real>& blocks, PairTiles<Real>& work) { blocks.for_tiles([&](PairLanes<Real>& tile) { work.forward(tile); }); });
}

template <class Real>
void nonlocal_adjoint_step(const Nonlocal<Real>& step, int begin, int end, Real* scratch) {
  for_block_pairs<Real>(
      step, paper2022::adjoint_sums(*step.layer.layout, step.by_species.rows != nullptr), begin, end, scratch,
      [](BlockPair<Real>& blocks, PairTiles<Real>& work) { blocks.for_tiles([&](PairLanes<Real>& tile) { work.adjoint(tile); }); });
}

}  // namespace SO3MD_CPU_NAMESPACE::paper
