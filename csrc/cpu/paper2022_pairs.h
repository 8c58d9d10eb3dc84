// A tile of pairs beyond the cutoff, each with both of its directions: filters, weights and harmonics, and what both ends get from them,
// forward and in reverse (eq. 61, 65 and 66 of docs/theory.md).
//
// What an atom has (queries, keys, coordinates, gradients) and what matrices are multiplied with lies in rows; what depends on the pair
// alone lies in lanes, pair beside pair. Squares of four numbers turn one into the other.
#pragma once

#include <type_traits>

#include "cpu/node_kernels.h"
#include "cpu/paper2022_tile.h"

namespace SO3MD_CPU_NAMESPACE::paper {

template <class Real>
using Nonlocal = paper2022::NonlocalStep<Real>;

/// Pairs of a tile; a multiple of kLanes.
inline constexpr int kPairs = 48;

/// Of the ball of an atom that takes nothing from others: so small that no weight is left.
template <class Real>
inline constexpr Real kNoRadius = static_cast<Real>(paper2022::kNoRadius);

/// Up to kPairs pairs of atoms.
template <class Real>
struct PairLanes {
  int count = 0;
  int first[kPairs];  ///< places
  int second[kPairs];
  int first_row[kPairs];  ///< of the sums, as numbers from their beginning
  int second_row[kPairs];
  alignas(64) Real x[kPairs];  ///< from the second to the first; of unit length after normalise()
  alignas(64) Real y[kPairs];
  alignas(64) Real z[kPairs];
  alignas(64) Real inverse_r[kPairs];           ///< after normalise()
  alignas(64) Real total[kPairs];               ///< distance in the space of chi; its square before normalise()
  alignas(64) Real delta[kMaxDegrees][kPairs];  ///< likewise, by degree
  alignas(64) Real radius_first[kPairs];        ///< of the balls in that space
  alignas(64) Real radius_second[kPairs];

  /// Whole registers, and whole squares.
  int lanes() const { return (count + kLanes - 1) / kLanes * kLanes; }

  /// Behind the last pair: repetitions without weight.
  void fill_up() {
    for (int p = count; p < lanes(); ++p) {
      first[p] = first[0];
      second[p] = second[0];
      first_row[p] = first_row[0];
      second_row[p] = second_row[0];
      x[p] = y[p] = total[p] = Real(0);
      z[p] = Real(1);
      radius_first[p] = radius_second[p] = kNoRadius<Real>;
      for (int d = 0; d < kMaxDegrees; ++d) delta[d][p] = Real(0);
    }
  }

  void normalise(int degrees) {
    for (int lane = 0; lane < lanes(); lane += kWidth<Real>) {
      const Vec<Real> rx = load<Real>(x + lane), ry = load<Real>(y + lane), rz = load<Real>(z + lane);
      const Vec<Real> inverse = Real(1) / square_root<Real>(rx * rx + ry * ry + rz * rz);
      store<Real>(x + lane, rx * inverse);
      store<Real>(y + lane, ry * inverse);
      store<Real>(z + lane, rz * inverse);
      store<Real>(inverse_r + lane, inverse);
      store<Real>(total + lane, square_root<Real>(load<Real>(total + lane)));
      for (int d = 0; d < degrees; ++d) store<Real>(delta[d] + lane, square_root<Real>(load<Real>(delta[d] + lane)));
    }
  }
};

/// lanes[column][pair] from rows, which row_of(pair) points to; with `less_of`, their differences from other rows.
template <class Real, class RowOf, class LessOf = std::nullptr_t>
inline void to_lanes(int pairs, int columns, Real* lanes, const RowOf& row_of, const LessOf& less_of = nullptr) {
  constexpr bool is_difference = !std::is_null_pointer_v<LessOf>;
  for (int p = 0; p < pairs; p += 4) {
    const Real *row[4], *less[4];
    for (int k = 0; k < 4; ++k) {
      row[k] = row_of(p + k);
      if constexpr (is_difference) less[k] = less_of(p + k);
    }
    Real* to = lanes + p;
    for (int c = 0; c < columns; c += 4, to += 4 * kPairs) {
      Four<Real> square[4];
      for (int k = 0; k < 4; ++k) {
        load_four<Real>(row[k] + c, square[k]);
        if constexpr (is_difference) {
          Four<Real> other;
          load_four<Real>(less[k] + c, other);
          square[k] -= other;
        }
      }
      transpose<Real>(square);
      for (int k = 0; k < 4; ++k) store_four<Real>(to + k * kPairs, square[k]);
    }
  }
}

/// to += sign * value.
template <class Real, int sign = 1>
inline void add_four(Real* to, const Four<Real>& value) {
  Four<Real> sum;
  load_four<Real>(to, sum);
  if constexpr (sign > 0)
    sum += value;
  else
    sum -= value;
  store_four<Real>(to, sum);
}

/// Rows of sums of up to four pairs from one on. Pairs of a tile that follow each other often have the same atom.
template <class Real>
struct SumsOfFour {
  Real* row[4];
  int count;
  bool same;

  SumsOfFour(Real* sums, const int* rows, int p, int pairs) {
    count = pairs - p < 4 ? pairs - p : 4;
    for (int k = 0; k < 4; ++k) row[k] = sums + rows[p + (k < count ? k : 0)];
    same = count == 4 && row[0] == row[1] && row[0] == row[2] && row[0] == row[3];
  }

  /// Four numbers of each pair, from a column on.
  template <int sign = 1>
  void add(int column, const Four<Real> (&square)[4]) const {
    if (same)
      add_four<Real, sign>(row[0] + column, (square[0] + square[1]) + (square[2] + square[3]));
    else
      for (int k = 0; k < count; ++k) add_four<Real, sign>(row[k] + column, square[k]);
  }
};

/// Calls add(column, squares of four pairs and four columns) with rows of what lies in lanes.
template <class Real, class Add>
inline void from_lanes(int columns, const Real* lanes, const Add& add) {
  for (int c = 0; c < columns; c += 4, lanes += 4 * kPairs) {
    Four<Real> square[4];
    for (int k = 0; k < 4; ++k) load_four<Real>(lanes + k * kPairs, square[k]);
    transpose<Real>(square);
    add(c, square);
  }
}

/// to[row] = the sum of a register, for a multiple of four rows.
template <class Real>
inline void sum_registers(int rows, const Real* from, Real* to) {
  if constexpr (kWidth<Real> < 4) {
    for (int row = 0; row < rows; ++row) to[row] = sum<Real>(load<Real>(from + row * kWidth<Real>));
  } else {
    for (int row = 0; row < rows; row += 4) {
      Four<Real> square[4];
      for (int k = 0; k < 4; ++k) {
        const Real* at = from + (row + k) * kWidth<Real>;
        load_four<Real>(at, square[k]);
        for (int c = 4; c < kWidth<Real>; c += 4) {
          Four<Real> more;
          load_four<Real>(at + c, more);
          square[k] += more;
        }
      }
      transpose<Real>(square);
      store_four<Real>(to + row, (square[0] + square[1]) + (square[2] + square[3]));
    }
  }
}

/// Buffers of a tile, and the steps of its evaluation. `forth` is the direction in which the first end is the centre.
template <class Real>
struct PairTiles {
  const Nonlocal<Real>& step;
  const Layout& layout;
  const paper2022::NonlocalSums parts;
  Real* const sums;  // rows of what atoms get
  int hidden, channels, width, columns;
  std::ptrdiff_t to_back;                                                 // from products of one direction to those of the other
  Real *value, *slope, *w, *gradient_w;                                   // rows
  Real* product_of;                                                       // [2][degrees][pair] registers, of products
  Real *harmonic, *harmonic_gradient, *first_chi, *second_chi, *between;  // lanes of coordinates
  Real *beta_forth, *beta_back, *along, *against, *gradient_delta;        // lanes of degrees
  Real *sums_first, *sums_second;                                         // lanes of paper2022::PairSums
  ChiWeights<Real, kPairs> forth, back;

  static std::size_t size(const paper2022::Parameters<Real>& parameters) {
    const Layout& layout = parameters.layout;
    const int rows = 2 * (layout.spherical_hidden + layout.coordinates_padded);
    const int lanes =
        2 * layout.num_degrees * kWidth<Real> + 5 * layout.chi_stride + 5 * layout.num_degrees + 2 * paper2022::PairSums::size;
    return static_cast<std::size_t>(kPairs * (rows + lanes));
  }

  PairTiles(const Nonlocal<Real>& used, const paper2022::NonlocalSums& sums_at, Real* sums_of_atoms, Real* scratch)
      : step(used),
        layout(*used.layer.layout),
        parts(sums_at),
        sums(sums_of_atoms),
        hidden(layout.spherical_hidden),
        channels(layout.coordinates_padded),
        width(layout.coordinate_head_padded),
        columns((layout.num_coordinates + 3) / 4 * 4),
        to_back(std::ptrdiff_t{layout.num_degrees} * kPairs * kWidth<Real>) {
    Real* next = scratch;
    const auto take = [&](int size) {
      Real* const here = next;
      next += kPairs * size;
      return here;
    };
    value = take(hidden);
    slope = take(hidden);
    w = take(channels);
    gradient_w = take(channels);
    product_of = take(2 * layout.num_degrees * kWidth<Real>);
    beta_forth = take(layout.num_degrees);
    beta_back = take(layout.num_degrees);
    along = take(layout.num_degrees);
    against = take(layout.num_degrees);
    gradient_delta = take(layout.num_degrees);
    Real* const coordinates = next;
    sums_first = take(paper2022::PairSums::size);
    sums_second = take(paper2022::PairSums::size);
    harmonic = take(layout.chi_stride);
    harmonic_gradient = take(layout.chi_stride);
    first_chi = take(layout.chi_stride);
    second_chi = take(layout.chi_stride);
    between = take(layout.chi_stride);
    clear<Real>(static_cast<int>(next - coordinates), coordinates);  // also what nobody writes
  }

  /// Filters, harmonics and weights; with kSlopes also the slopes of the hidden values.
  template <bool kSlopes>
  void prepare(PairLanes<Real>& tile) {
    tile.fill_up();
    tile.normalise(layout.num_degrees);
    const auto& parameters = *step.layer.parameters;
    const Linear<Real>& second_map = parameters.spherical2_coordinates.forward;
    with_registers(hidden, [&](auto registers) __attribute__((always_inline)) {
      with_activation(layout.activation, [&](auto kind) __attribute__((always_inline)) { hidden_values<kSlopes>(tile, registers, kind); });
    });
    if (!by_species())
      matmul<Real, Start::bias>(tile.count, value, hidden, second_map.weight, parameters.beyond, second_map.depth, second_map.columns, w,
                                channels);
    for (int lane = 0; lane < tile.lanes(); lane += kWidth<Real>)
      harmonics<Real>(layout, *step.layer.harmonics, load<Real>(tile.x + lane), load<Real>(tile.y + lane), load<Real>(tile.z + lane),
                      harmonic + lane, kPairs);
    forth.set(tile.lanes(), tile.total, tile.radius_first);
    back.set(tile.lanes(), tile.total, tile.radius_second);
  }

  template <bool kSlopes, class Registers, class Kind>
  void hidden_values(const PairLanes<Real>& tile, Registers registers, Kind activation_kind) {
    const Real *weight = step.layer.parameters->beyond_spherical1, *bias = step.layer.parameters->beyond_spherical1_bias;
    const int length = registers * kWidth<Real>, degrees = layout.num_degrees;
    for (int p = 0; p < tile.count; ++p)
      for (int k = 0; k < length; k += kWidth<Real>) {
        Vec<Real> z = load<Real>(bias + k), derivative;
        for (int d = 0; d < degrees; ++d) z += tile.delta[d][p] * load<Real>(weight + d * length + k);
        store<Real>(value + p * length + k, activation<Real>(activation_kind, z, derivative));
        if constexpr (kSlopes) store<Real>(slope + p * length + k, derivative);
      }
  }

  Real* products(int direction, int degree, int pair) {
    return product_of + ((direction * layout.num_degrees + degree) * kPairs + pair) * kWidth<Real>;
  }

  /// beta of both directions, from registers full of products.
  void sum_products(const PairLanes<Real>& tile) {
    for (int d = 0; d < layout.num_degrees; ++d) {
      sum_registers<Real>(tile.lanes(), products(0, d, 0), beta_forth + d * kPairs);
      sum_registers<Real>(tile.lanes(), products(1, d, 0), beta_back + d * kPairs);
    }
  }

  const Real* query_of(int place) const { return step.query_key + std::ptrdiff_t{place} * 2 * channels; }

  bool by_species() const { return step.by_species.rows != nullptr; }

  /// Of places.
  const Real* species_row(int centre, int other) const {
    const auto& of = step.by_species;
    return of.rows + (std::ptrdiff_t{step.species[centre]} * of.count + step.species[other]) * of.stride;
  }

  /// Adds f beta Y to the sums of both ends.
  void forward(PairLanes<Real>& tile) {
    prepare<false>(tile);
    if (by_species())
      with_registers(hidden, [&](auto registers) { species_forward(tile, registers); });
    else
      with_registers(width, [&](auto registers) { channels_forward(tile, registers); });
    sum_products(tile);
    weigh_harmonics(tile);
    add_rows(tile.count, columns, first_chi, tile.first_row, parts.chi);
    add_rows(tile.count, columns, second_chi, tile.second_row, parts.chi);
  }

  /// Calls body with the number of registers of a row, which the compiler knows for the most frequent ones.
  template <class Body>
  static __attribute__((always_inline)) void with_registers(int count, const Body& body) {
    switch (count / kWidth<Real>) {
      case 1:
        return body(std::integral_constant<int, 1>{});
      case 2:
        return body(std::integral_constant<int, 2>{});
      case 4:
        return body(std::integral_constant<int, 4>{});
      default:
        return body(count / kWidth<Real>);
    }
  }

  /// Products for beta.
  template <class Registers>
  void channels_forward(const PairLanes<Real>& tile, Registers registers) {
    const int to_keys = channels;
    const std::ptrdiff_t back_from_here = to_back;
    for (int p = 0; p < tile.count; ++p) {
      const Real *a = query_of(tile.first[p]), *b = query_of(tile.second[p]), *filter = w + p * channels;
      Real* product = products(0, 0, p);
      for (const Real* const end = filter + to_keys; filter < end; product += kPairs * kWidth<Real>) {
        Vec<Real> ab = Vec<Real>{}, ba = Vec<Real>{};
        for (int k = 0; k < registers; ++k) {
          const Vec<Real> f = load<Real>(filter + k * kWidth<Real>);
          ab += load<Real>(a + k * kWidth<Real>) * f * load<Real>(b + to_keys + k * kWidth<Real>);
          ba += load<Real>(b + k * kWidth<Real>) * f * load<Real>(a + to_keys + k * kWidth<Real>);
        }
        store<Real>(product, ab);
        store<Real>(product + back_from_here, ba);
        a += registers * kWidth<Real>;
        b += registers * kWidth<Real>;
        filter += registers * kWidth<Real>;
      }
    }
  }

  /// Products for beta of species, to which each number of a register brings its part of the constant.
  template <class Registers>
  void species_forward(const PairLanes<Real>& tile, Registers registers) {
    const int length = registers * kWidth<Real>, degrees = layout.num_degrees;
    const std::ptrdiff_t back_from_here = to_back;
    for (int p = 0; p < tile.count; ++p) {
      const Real *h = value + p * length, *ab = species_row(tile.first[p], tile.second[p]),
                 *ba = species_row(tile.second[p], tile.first[p]);
      const Real *constant_ab = ab + degrees * length, *constant_ba = ba + degrees * length;
      Real* product = products(0, 0, p);
      for (int d = 0; d < degrees; ++d, ab += length, ba += length, product += kPairs * kWidth<Real>) {
        Vec<Real> forth_sum = broadcast<Real>(constant_ab[d] / kWidth<Real>), back_sum = broadcast<Real>(constant_ba[d] / kWidth<Real>);
        for (int k = 0; k < length; k += kWidth<Real>) {
          const Vec<Real> h_k = load<Real>(h + k);
          forth_sum += h_k * load<Real>(ab + k);
          back_sum += h_k * load<Real>(ba + k);
        }
        store<Real>(product, forth_sum);
        store<Real>(product + back_from_here, back_sum);
      }
    }
  }

  /// The gradients of the hidden values, times their slopes, instead of the hidden values.
  template <class Registers>
  void species_adjoint(const PairLanes<Real>& tile, Registers registers) {
    const int length = registers * kWidth<Real>, degrees = layout.num_degrees;
    for (int p = 0; p < tile.count; ++p) {
      const Real *ab = species_row(tile.first[p], tile.second[p]), *ba = species_row(tile.second[p], tile.first[p]);
      const Real *to_first = along + p, *to_second = against + p;
      for (int k = 0; k < length; k += kWidth<Real>) {
        Vec<Real> by_first = Vec<Real>{}, by_second = Vec<Real>{};
        for (int d = 0; d < degrees; ++d) {
          by_first += to_first[d * kPairs] * load<Real>(ab + d * length + k);
          by_second += to_second[d * kPairs] * load<Real>(ba + d * length + k);
        }
        const Vec<Real> gradient = forth.f[p] * by_first + back.f[p] * by_second;
        store<Real>(value + p * length + k, gradient * load<Real>(slope + p * length + k));
      }
    }
  }

  /// Adds what lies in lanes to rows of sums.
  void add_rows(int pairs, int width_of_rows, const Real* lanes, const int* rows, int offset) {
    for (int p = 0; p < pairs; p += 4) {
      const SumsOfFour<Real> to(sums + offset, rows, p, pairs);
      from_lanes<Real>(width_of_rows, lanes + p, [&](int column, const Four<Real>(&square)[4]) { to.add(column, square); });
    }
  }

  void weigh_harmonics(const PairLanes<Real>& tile) {
    for (int d = 0; d < layout.num_degrees; ++d) {
      const Real sign = layout.degree[d] % 2 == 0 ? Real(1) : Real(-1);  // of the harmonics of the opposite direction
      const int begin = layout.degree_offset[d], end = begin + 2 * layout.degree[d] + 1;
      for (int lane = 0; lane < tile.lanes(); lane += kWidth<Real>) {
        const Vec<Real> to_first = load<Real>(forth.f + lane) * load<Real>(beta_forth + d * kPairs + lane);
        const Vec<Real> to_second = sign * load<Real>(back.f + lane) * load<Real>(beta_back + d * kPairs + lane);
        for (int m = begin; m < end; ++m) {
          const Vec<Real> y = load<Real>(harmonic + m * kPairs + lane);
          store<Real>(first_chi + m * kPairs + lane, to_first * y);
          store<Real>(second_chi + m * kPairs + lane, to_second * y);
        }
      }
    }
  }

  /// Adds the gradients that both ends get.
  void adjoint(PairLanes<Real>& tile) {
    prepare<true>(tile);
    load_coordinates(tile);
    project_gradients(tile);
    if (by_species()) {
      with_registers(hidden, [&](auto registers) {
        species_forward(tile, registers);
        species_adjoint(tile, registers);
      });
    } else {
      with_registers(width, [&](auto registers) { channels_adjoint(tile, registers); });
      second_map_adjoint(tile);
    }
    sum_products(tile);
    with_registers(hidden, [&](auto registers) { hidden_adjoint(tile, registers); });
    lanes_adjoint(tile);
    for (int p = 0; p < tile.count; p += 4) {
      const SumsOfFour<Real> first(sums + parts.chi, tile.first_row, p, tile.count),
          second(sums + parts.chi, tile.second_row, p, tile.count);
      from_lanes<Real>(columns, between + p, [&](int column, const Four<Real>(&square)[4]) {
        first.add(column, square);
        second.template add<-1>(column, square);
      });
    }
    add_rows(tile.count, paper2022::PairSums::size, sums_first, tile.first_row, parts.pairs);
    add_rows(tile.count, paper2022::PairSums::size, sums_second, tile.second_row, parts.pairs);
  }

  /// Gradients of the coordinates of both ends, and the vector between them, into lanes.
  void load_coordinates(const PairLanes<Real>& tile) {
    const int lanes = tile.lanes();
    const auto rows_at = [stride = std::ptrdiff_t{layout.chi_stride}](const Real* rows, const int* places) {
      return [=](int p) { return rows + places[p] * stride; };
    };
    to_lanes<Real>(lanes, columns, first_chi, rows_at(step.gradient_chi_attended, tile.first));
    to_lanes<Real>(lanes, columns, second_chi, rows_at(step.gradient_chi_attended, tile.second));
    to_lanes<Real>(lanes, columns, between, rows_at(step.chi, tile.first), rows_at(step.chi, tile.second));
  }

  /// dE/d(f beta) of both directions and each degree.
  void project_gradients(const PairLanes<Real>& tile) {
    for (int d = 0; d < layout.num_degrees; ++d) {
      const Real sign = layout.degree[d] % 2 == 0 ? Real(1) : Real(-1);
      const int begin = layout.degree_offset[d], end = begin + 2 * layout.degree[d] + 1;
      for (int lane = 0; lane < tile.lanes(); lane += kWidth<Real>) {
        Vec<Real> to_first = Vec<Real>{}, to_second = Vec<Real>{};
        for (int m = begin; m < end; ++m) {
          const Vec<Real> y = load<Real>(harmonic + m * kPairs + lane);
          to_first += load<Real>(first_chi + m * kPairs + lane) * y;
          to_second += load<Real>(second_chi + m * kPairs + lane) * y;
        }
        store<Real>(along + d * kPairs + lane, to_first);
        store<Real>(against + d * kPairs + lane, sign * to_second);
      }
    }
  }

  /// Products for beta, gradients of the filters, and of queries and keys.
  template <class Registers>
  void channels_adjoint(const PairLanes<Real>& tile, Registers registers) {
    constexpr int kNext = kWidth<Real>;
    const int to_keys = channels;
    const std::ptrdiff_t back_from_here = to_back;
    for (int p = 0; p < tile.count; ++p) {
      const Real *a = query_of(tile.first[p]), *b = query_of(tile.second[p]), *filter = w + p * channels;
      Real *to_a = sums + tile.first_row[p] + parts.query_key, *to_b = sums + tile.second_row[p] + parts.query_key;
      Real *gradient = gradient_w + p * channels, *product = products(0, 0, p);
      const Real *to_first = along + p, *to_second = against + p;
      const Real f_first = forth.f[p], f_second = back.f[p];
      for (const Real* const end = filter + to_keys; filter < end; product += kPairs * kWidth<Real>) {
        const Vec<Real> by_a = broadcast<Real>(f_first * *to_first), by_b = broadcast<Real>(f_second * *to_second);
        Vec<Real> ab = Vec<Real>{}, ba = Vec<Real>{};
        for (int k = 0; k < registers; ++k)
          channel_adjoint(to_keys, filter + k * kNext, a + k * kNext, b + k * kNext, by_a, by_b, ab, ba, gradient + k * kNext,
                          to_a + k * kNext, to_b + k * kNext);
        store<Real>(product, ab);
        store<Real>(product + back_from_here, ba);
        to_first += kPairs;
        to_second += kPairs;
        a += registers * kNext;
        b += registers * kNext;
        to_a += registers * kNext;
        to_b += registers * kNext;
        filter += registers * kNext;
        gradient += registers * kNext;
      }
    }
  }

  /// Rows of queries, and of their gradients; keys lie `to_keys` behind them.
  static inline __attribute__((always_inline)) void channel_adjoint(int to_keys, const Real* filter, const Real* a, const Real* b,
                                                                    Vec<Real> by_a, Vec<Real> by_b, Vec<Real>& ab, Vec<Real>& ba,
                                                                    Real* gradient, Real* to_a, Real* to_b) {
    const Vec<Real> f = load<Real>(filter), q_a = load<Real>(a), k_a = load<Real>(a + to_keys), q_b = load<Real>(b),
                    k_b = load<Real>(b + to_keys);
    const Vec<Real> f_k_b = f * k_b, f_k_a = f * k_a;
    ab += q_a * f_k_b;
    ba += q_b * f_k_a;
    store<Real>(gradient, by_a * (q_a * k_b) + by_b * (q_b * k_a));
    store<Real>(to_a, load<Real>(to_a) + by_a * f_k_b);
    store<Real>(to_a + to_keys, load<Real>(to_a + to_keys) + by_b * (f * q_b));
    store<Real>(to_b, load<Real>(to_b) + by_b * f_k_a);
    store<Real>(to_b + to_keys, load<Real>(to_b + to_keys) + by_a * (f * q_a));
  }

  /// From gradient_w to the gradients of the hidden values, times their slopes, instead of the hidden values.
  void second_map_adjoint(const PairLanes<Real>& tile) {
    apply<Real>(step.layer.parameters->spherical2_coordinates.adjoint, tile.count, gradient_w, channels, value, hidden);
    multiply_rows<Real>(tile.count * hidden, slope, value);
  }

  /// gradient_delta from the gradients of the hidden values times their slopes.
  template <class Registers>
  void hidden_adjoint(const PairLanes<Real>& tile, Registers registers) {
    const int length = registers * kWidth<Real>;
    const Real* weight = step.layer.parameters->beyond_spherical1;
    for (int d = 0; d < layout.num_degrees; ++d, weight += length) {
      Real* const product = products(0, d, 0);
      for (int p = 0; p < tile.count; ++p) {
        Vec<Real> sum = Vec<Real>{};
        for (int k = 0; k < length; k += kWidth<Real>) sum += load<Real>(value + p * length + k) * load<Real>(weight + k);
        store<Real>(product + p * kWidth<Real>, sum);
      }
      sum_registers<Real>(tile.lanes(), product, gradient_delta + d * kPairs);
    }
  }

  /// The rest, pair beside pair: `between` becomes dE/dchi of the first, and sums_first, sums_second are set.
  void lanes_adjoint(const PairLanes<Real>& tile) {
    alignas(64) Real by_delta[kPairs] = {};
    for (int lane = 0; lane < tile.lanes(); lane += kWidth<Real>) {
      Vec<Real> by_forth = Vec<Real>{}, by_back = Vec<Real>{};  // dE/df
      for (int d = 0; d < layout.num_degrees; ++d) {
        const int at = d * kPairs + lane;
        by_forth += load<Real>(beta_forth + at) * load<Real>(along + at);
        by_back += load<Real>(beta_back + at) * load<Real>(against + at);
      }
      const Vec<Real> own = by_forth * forth.slopes(lane), other = by_back * back.slopes(lane);
      store<Real>(sums_first + paper2022::PairSums::softmax * kPairs + lane, own);
      store<Real>(sums_second + paper2022::PairSums::softmax * kPairs + lane, other);
      const Vec<Real> total = load<Real>(tile.total + lane);
      store<Real>(by_delta + lane, total > Real(0) ? (own + other) / total : Vec<Real>{});
    }
    for (int d = 0; d < layout.num_degrees; ++d) degree_adjoint(tile, d, by_delta);
    for (int lane = 0; lane < tile.lanes(); lane += kWidth<Real>) direction_adjoint(tile, lane);
  }

  /// Of one degree: dE/dchi, and gradients of the harmonics. `common`: dE/d(total) over total.
  void degree_adjoint(const PairLanes<Real>& tile, int d, const Real* common) {
    const Real sign = layout.degree[d] % 2 == 0 ? Real(1) : Real(-1);
    const int begin = layout.degree_offset[d], end = begin + 2 * layout.degree[d] + 1;
    for (int lane = 0; lane < tile.lanes(); lane += kWidth<Real>) {
      const Vec<Real> norm = load<Real>(tile.delta[d] + lane);
      const Vec<Real> factor =
          load<Real>(common + lane) + (norm > Real(0) ? load<Real>(gradient_delta + d * kPairs + lane) / norm : Vec<Real>{});
      const Vec<Real> of_first = load<Real>(forth.f + lane) * load<Real>(beta_forth + d * kPairs + lane);
      const Vec<Real> of_second = sign * load<Real>(back.f + lane) * load<Real>(beta_back + d * kPairs + lane);
      for (int m = begin; m < end; ++m) {
        const int at = m * kPairs + lane;
        store<Real>(between + at, factor * load<Real>(between + at));
        store<Real>(harmonic_gradient + at, of_first * load<Real>(first_chi + at) + of_second * load<Real>(second_chi + at));
      }
    }
  }

  /// Forces, and half of the virial, d (x) dE/dd / 2, for either end.
  void direction_adjoint(const PairLanes<Real>& tile, int lane) {
    using Sums = paper2022::PairSums;
    const Vec<Real> u[3] = {load<Real>(tile.x + lane), load<Real>(tile.y + lane), load<Real>(tile.z + lane)};
    Vec<Real> t[3];
    harmonics_adjoint<Real>(layout, *step.layer.harmonics, u[0], u[1], u[2], harmonic_gradient + lane, kPairs, t[0], t[1], t[2]);
    const Vec<Real> inverse = load<Real>(tile.inverse_r + lane);
    for (int a = 0; a < 3; ++a) {
      store<Real>(sums_first + (Sums::force + a) * kPairs + lane, -inverse * t[a]);
      store<Real>(sums_second + (Sums::force + a) * kPairs + lane, inverse * t[a]);
      for (int b = 0; b < 3; ++b) {
        const int at = (Sums::virial + 3 * a + b) * kPairs + lane;
        const Vec<Real> half = Real(0.5) * u[a] * t[b];
        store<Real>(sums_first + at, half);
        store<Real>(sums_second + at, half);
      }
    }
  }
};

}  // namespace SO3MD_CPU_NAMESPACE::paper
