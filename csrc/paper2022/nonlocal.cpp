#include "paper2022/nonlocal.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "common/index.h"

namespace so3md::paper2022 {

namespace {

constexpr int kAtomsPerTask = 256;

template <class Real>
constexpr int kPadding = kColumnPadding / static_cast<int>(sizeof(Real));

double length_squared(const Vec3& v) { return v[0] * v[0] + v[1] * v[1] + v[2] * v[2]; }

Vec3 combined(const Vec3& a, double i, const Vec3& b, double j, const Vec3& c) {
  return {a[0] + i * b[0] + j * c[0], a[1] + i * b[1] + j * c[1], a[2] + i * b[2] + j * c[2]};
}

// Minkowski reduction: no vector that repeats becomes shorter by adding or subtracting others.
Matrix3 shortest_vectors(const Cell& cell) {
  constexpr double kShorter = 1.0 - 1e-12;  // lengths that only differ by rounding are the same
  Matrix3 v = cell.vectors();
  for (bool changed = true; changed;) {
    changed = false;
    for (int k = 0; k < 3; ++k) {
      const int first = (k + 1) % 3, second = (k + 2) % 3;
      if (!cell.periodic(k)) continue;
      for (int i = cell.periodic(first) ? -1 : 0; i <= (cell.periodic(first) ? 1 : 0); ++i)
        for (int j = cell.periodic(second) ? -1 : 0; j <= (cell.periodic(second) ? 1 : 0); ++j) {
          const Vec3 other = combined(v[index_of(k)], i, v[index_of(first)], j, v[index_of(second)]);
          if (length_squared(other) >= kShorter * length_squared(v[index_of(k)])) continue;
          v[index_of(k)] = other;
          changed = true;
        }
    }
  }
  return v;
}

bool is_rectangular(const Matrix3& v) {
  for (std::size_t a = 0; a < 3; ++a)
    for (std::size_t b = 0; b < a; ++b) {
      const double product = v[a][0] * v[b][0] + v[a][1] * v[b][1] + v[a][2] * v[b][2];
      if (product * product > 1e-24 * length_squared(v[a]) * length_squared(v[b])) return false;
    }
  return true;
}

MinimumImage make_image(const Cell* cell) {
  MinimumImage out;
  if (cell == nullptr || !cell->any_periodic()) return out;
  out.any = true;
  const Matrix3 v = shortest_vectors(*cell);
  double flat[9];
  for (std::size_t k = 0; k < 9; ++k) flat[k] = v[k / 3][k % 3];
  const Cell reduced(flat, {cell->periodic(0), cell->periodic(1), cell->periodic(2)});
  for (int a = 0; a < 3; ++a) {
    out.periodic[a] = cell->periodic(a);
    for (int b = 0; b < 3; ++b) {
      out.vectors[a][b] = v[index_of(a)][index_of(b)];
      out.inverse[a][b] = reduced.inverse()[index_of(a)][index_of(b)];
    }
  }
  if (is_rectangular(reduced.vectors())) return out;
  for (int number = 0; number < 27; ++number) {
    const int shift[3] = {number % 3 - 1, number / 3 % 3 - 1, number / 9 - 1};
    bool repeats = number != 13;  // not the vector itself
    for (int k = 0; k < 3; ++k) repeats = repeats && (shift[k] == 0 || cell->periodic(k));
    if (!repeats) continue;
    for (int c = 0; c < 3; ++c)
      out.others[out.num_others][c] = shift[0] * out.vectors[0][c] + shift[1] * out.vectors[1][c] + shift[2] * out.vectors[2][c];
    ++out.num_others;
  }
  return out;
}

}  // namespace

template <class Real>
template <class Value>
void NonlocalAtoms<Real>::gather(const Value* rows, int width, int stride, HaloExchange& halo, std::vector<Value>& all) {
  all.resize(index_of(rows_.total) * index_of(width));
  halo.gather(owned_, Rows<const Value>{rows, width, stride}, all.data());
}

template <class Real>
void NonlocalAtoms<Real>::start(const Domain& domain, const int* species, const Systems& systems, HaloExchange& halo) {
  const Hyperparameters& hyper = parameters_.model().hyper;
  owned_ = domain.n_owned;
  rows_ = halo.all_rows(owned_);
  first_ = systems.count() == 1 ? std::vector<int>{0, rows_.total} : systems.first;  // several systems have a process of their own
  images_.clear();
  log_cutoff_.clear();
  log_cutoff_of_system_.clear();
  num_pairs_ = 0;
  for (int s = 0; s < systems.count(); ++s) {
    const double atoms = systems.num_atoms[index_of(s)];
    images_.push_back(make_image(systems.cells[index_of(s)]));
    log_cutoff_of_system_.push_back(hyper.nonlocal_attention == NonlocalAttention::dynamic ? -std::log(atoms)
                                                                                           : std::log(hyper.nonlocal_cutoff));
    const int count = systems.first[index_of(s) + 1] - systems.first[index_of(s)];
    log_cutoff_.insert(log_cutoff_.end(), index_of(count), log_cutoff_of_system_.back());
    num_pairs_ += static_cast<std::int64_t>(count) * static_cast<std::int64_t>(atoms - 1.0);
  }
  gather(domain.positions, 3, 3, halo, all_positions_);
  gather_species(species, halo);

  std::vector<double> numbers(index_of(domain.n_feature_slots()));
  std::iota(numbers.begin(), numbers.begin() + owned_, static_cast<double>(rows_.first));
  const Rows<double> sent[] = {{numbers.data(), 1, 1}};
  halo.start(Reach::near, sent);
  halo.finish();
  row_of_slot_.assign(numbers.begin(), numbers.end());
}

template <class Real>
void NonlocalAtoms<Real>::gather_species(const int* species, HaloExchange& halo) {
  const std::vector<double> own(species, species + owned_);
  gather(own.data(), 1, 1, halo, all_double_);
  species_.assign(all_double_.begin(), all_double_.end());
  std::sort(species_.begin(), species_.end());
  species_.erase(std::unique(species_.begin(), species_.end()), species_.end());
  species_of_row_.clear();
  for (const double one : all_double_) {
    const auto place = std::lower_bound(species_.begin(), species_.end(), static_cast<int>(one));
    species_of_row_.push_back(static_cast<int>(place - species_.begin()));
  }
}

// Blocks of neighbours in the space of chi: halves along the coordinate in which a set is widest, until it is small enough.
template <class Real>
void NonlocalAtoms<Real>::split(int begin, int end, int system) {
  if (end - begin <= kLargestChiBlock) {
    if (end > begin) blocks_.push_back({begin, end});
    return;
  }
  const int width = layout_.num_coordinates;
  int widest = 0;
  Real extent = Real(-1);
  for (int m = 0; m < width; ++m) {
    Real low = std::numeric_limits<Real>::max(), high = std::numeric_limits<Real>::lowest();
    for (int place = begin; place < end; ++place) {
      const Real value = all_[index_of(order_[index_of(place)]) * index_of(width) + index_of(m)];
      low = std::min(low, value);
      high = std::max(high, value);
    }
    if (high - low > extent) {
      extent = high - low;
      widest = m;
    }
  }
  // A whole number of full blocks on the left, so that few blocks are small. Ties by number keep the order the same everywhere.
  const int blocks = (end - begin + kLargestChiBlock - 1) / kLargestChiBlock;
  const int middle = begin + blocks / 2 * kLargestChiBlock;
  const auto key = [&](int row) { return all_[index_of(row) * index_of(width) + index_of(widest)]; };
  std::nth_element(order_.begin() + begin, order_.begin() + middle, order_.begin() + end,
                   [&](int a, int b) { return key(a) != key(b) ? key(a) < key(b) : a < b; });
  split(begin, middle, system);
  split(middle, end, system);
}

template <class Real>
void NonlocalAtoms<Real>::fill(const Real* chi, HaloExchange& halo, ThreadPool& pool) {
  gather(chi, layout_.num_coordinates, layout_.chi_stride, halo, all_);
  order_.resize(index_of(rows_.total));
  std::iota(order_.begin(), order_.end(), 0);
  blocks_.clear();
  first_block_ = {0};
  for (int s = 0; s + 1 < static_cast<int>(first_.size()); ++s) {
    split(first_[index_of(s)], first_[index_of(s) + 1], s);
    first_block_.push_back(static_cast<int>(blocks_.size()));
  }
  for (const ChiBlock& block : blocks_) std::sort(order_.begin() + block.begin, order_.begin() + block.end);
  place_columns(pool);
  set_centres();
  positions_.resize(3 * index_of(rows_.total));
  for (int place = 0; place < rows_.total; ++place)
    std::copy_n(all_positions_.begin() + std::ptrdiff_t{3} * order_[index_of(place)], 3, positions_.begin() + std::ptrdiff_t{3} * place);
}

template <class Real>
void NonlocalAtoms<Real>::fill_query_key(const Real* projection, HaloExchange& halo, ThreadPool& pool) {
  const int width = 2 * layout_.coordinates_padded;
  gather(projection + layout_.coordinate_query_offset, width, layout_.projection_stride, halo, all_);
  query_key_.resize(index_of(rows_.total) * index_of(width));
  pool.parallel_for(rows_.total, kAtomsPerTask, [&](int begin, int end, int) {
    for (int place = begin; place < end; ++place)
      std::copy_n(all_.begin() + std::ptrdiff_t{order_[index_of(place)]} * width, width,
                  query_key_.begin() + std::ptrdiff_t{place} * width);
  });
}

// Rows and columns of chi in the order of places, and the boxes of the blocks.
template <class Real>
void NonlocalAtoms<Real>::place_columns(ThreadPool& pool) {
  const int width = layout_.num_coordinates, stride = layout_.chi_stride;
  column_stride_ = padded<Real>(rows_.total) + kPadding<Real>;
  columns_.assign(index_of(width) * index_of(column_stride_), Real(0));
  chi_.assign(index_of(rows_.total) * index_of(stride), Real(0));
  box_low_.assign(blocks_.size() * index_of(stride), Real(0));
  box_high_.assign(blocks_.size() * index_of(stride), Real(0));
  pool.parallel_for(static_cast<int>(blocks_.size()), 4, [&](int begin, int end, int) {
    for (int number = begin; number < end; ++number) {
      const ChiBlock& block = blocks_[index_of(number)];
      for (int m = 0; m < width; ++m) {
        Real low = std::numeric_limits<Real>::max(), high = std::numeric_limits<Real>::lowest();
        for (int place = block.begin; place < block.end; ++place) {
          const Real value = all_[index_of(order_[index_of(place)]) * index_of(width) + index_of(m)];
          chi_[index_of(place) * index_of(stride) + index_of(m)] = value;
          columns_[index_of(m) * index_of(column_stride_) + index_of(place)] = value;
          low = std::min(low, value);
          high = std::max(high, value);
        }
        box_low_[index_of(number) * index_of(stride) + index_of(m)] = low;
        box_high_[index_of(number) * index_of(stride) + index_of(m)] = high;
      }
    }
  });
}

// Owned atoms in the order of places, so that those that are worked on one after the other read the same atoms.
template <class Real>
void NonlocalAtoms<Real>::set_centres() {
  centres_.clear();
  owned_of_place_.assign(index_of(rows_.total), -1);
  species_of_place_.clear();
  for (const int row : order_) species_of_place_.push_back(species_of_row_[index_of(row)]);
  int system = 0;
  for (int place = 0; place < rows_.total; ++place) {
    while (place >= first_[index_of(system) + 1]) ++system;
    const int owned = order_[index_of(place)] - rows_.first;
    if (owned < 0 || owned >= owned_) continue;
    owned_of_place_[index_of(place)] = owned;
    centres_.push_back({owned, place, first_[index_of(system)], first_[index_of(system) + 1]});
  }
}

template <class Real>
void NonlocalAtoms<Real>::set_block_balls() {
  block_ball_.clear();
  for (const ChiBlock& block : blocks_) block_ball_.push_back(*std::max_element(ball_.begin() + block.begin, ball_.begin() + block.end));
}

template <class Real>
void NonlocalAtoms<Real>::fill_radius(const double* radius) {
  ball_.assign(index_of(rows_.total + kPadding<Real>), static_cast<Real>(kNoRadius));
  for (const NonlocalCentre& centre : centres_) ball_[index_of(centre.place)] = static_cast<Real>(radius[centre.owned]);
  set_block_balls();
}

template <class Real>
void NonlocalAtoms<Real>::fill_adjoint(const Real* gradient_chi_attended, const double* radius, HaloExchange& halo) {
  const int width = layout_.num_coordinates, stride = layout_.chi_stride;
  gather(gradient_chi_attended, width, stride, halo, all_);
  gradient_chi_.assign(index_of(rows_.total) * index_of(stride), Real(0));
  gather(radius, 1, 1, halo, all_double_);
  ball_.assign(index_of(rows_.total + kPadding<Real>), static_cast<Real>(kNoRadius));
  for (int place = 0; place < rows_.total; ++place) {
    const int row = order_[index_of(place)];
    std::copy_n(all_.begin() + std::ptrdiff_t{row} * width, width, gradient_chi_.begin() + std::ptrdiff_t{place} * stride);
    ball_[index_of(place)] = static_cast<Real>(all_double_[index_of(row)]);
  }
  set_block_balls();
}

template <class Real>
void NonlocalAtoms<Real>::fill_softmax(const double* gradient_softmax, HaloExchange& halo) {
  gather(gradient_softmax, 1, 1, halo, all_double_);
  softmax_.assign(index_of(rows_.total + kPadding<Real>), Real(0));
  for (int s = 0; s + 1 < static_cast<int>(first_.size()); ++s)
    for (int place = first_[index_of(s)]; place < first_[index_of(s) + 1]; ++place)
      softmax_[index_of(place)] =
          static_cast<Real>(std::exp(log_cutoff_of_system_[index_of(s)]) * all_double_[index_of(order_[index_of(place)])]);
}

template <class Real>
int NonlocalAtoms<Real>::num_rounds() const {
  int most = 0;
  for (std::size_t s = 0; s + 1 < first_block_.size(); ++s) most = std::max(most, first_block_[s + 1] - first_block_[s]);
  return most;
}

// Of n blocks, round k has the pairs a, b with a + b = k modulo n: each block once, and over all rounds each pair once.
template <class Real>
void NonlocalAtoms<Real>::set_round(int round, std::vector<ChiBlockPair>& pairs) const {
  pairs.clear();
  for (std::size_t s = 0; s + 1 < first_block_.size(); ++s) {
    const int first = first_block_[s], count = first_block_[s + 1] - first;
    if (round >= count) continue;
    for (int a = 0; a < count; ++a) {
      const int b = (round - a + count) % count;
      if (a <= b) pairs.push_back({first + a, first + b, &images_[s]});
    }
  }
}

template <class Real>
NonlocalStep<Real> NonlocalAtoms<Real>::view() const {
  NonlocalStep<Real> out;
  out.centres = centres_.data();
  out.blocks = blocks_.data();
  out.box_low = box_low_.data();
  out.box_high = box_high_.data();
  out.block_ball = block_ball_.data();
  out.owned = owned_of_place_.data();
  out.species = species_of_place_.data();
  out.row = order_.data();
  out.row_of_slot = row_of_slot_.data();
  out.positions = positions_.data();
  out.cutoff = parameters_.model().hyper.cutoff;
  out.chi = chi_.data();
  out.chi_columns = columns_.data();
  out.column_stride = column_stride_;
  out.query_key = query_key_.data();
  out.ball = ball_.data();
  out.gradient_softmax = softmax_.data();
  out.gradient_chi_attended = gradient_chi_.data();
  return out;
}

template class NonlocalAtoms<float>;
template class NonlocalAtoms<double>;

}  // namespace so3md::paper2022
