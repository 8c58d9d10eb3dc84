// Attention heads of one pair, both directions at once (eq. 19, 21, 45, 46 of docs/theory.md). With t_ij = q_i k_j, channel by channel,
//   alpha_ij = s sum_e w_e t_ij,e    and    dE/dw = p_ij t_ij + p_ji t_ji  with  p_ij = dE/dalpha_ij s.
// Where the heads lie is known to the compiler for shapes that are common; else these are variables.
#pragma once

#include "cpu/simd.h"
#include "network/layout.h"

namespace SO3MD_CPU_NAMESPACE {

/// Heads of one of the two attentions, and where their queries, keys and values begin in a row of projections.
struct HeadShape {
  int heads, width, query, key, value;
  int channels() const { return heads * width; }
};

/// As many heads as degrees, all of one width.
template <int kHeads, int kHeadWidth>
struct KnownHeads {
  static constexpr int degrees = kHeads, channels = kHeads * kHeadWidth;
  static bool fits(const Layout& layout) {
    return layout.heads == kHeads && layout.head_padded == kHeadWidth && layout.num_degrees == kHeads &&
           layout.coordinate_head_padded == kHeadWidth;
  }
  static HeadShape features(const Layout&) { return {kHeads, kHeadWidth, 0, channels, 2 * channels}; }
  static HeadShape coordinates(const Layout&) { return {kHeads, kHeadWidth, 3 * channels, 4 * channels, 0}; }
};

/// The published models: 128 features in four heads, and four degrees.
using PublishedHeads = KnownHeads<4, 32>;

/// Students of `so3md distill`: 32 features in two heads, and two degrees.
using StudentHeads = KnownHeads<2, 16>;

/// All others.
struct AnyHeads {
  static constexpr int degrees = 0;  ///< unknown
  static HeadShape features(const Layout& layout) {
    return {layout.heads, layout.head_padded, layout.query_offset, layout.key_offset, layout.value_offset};
  }
  static HeadShape coordinates(const Layout& layout) {
    return {layout.num_degrees, layout.coordinate_head_padded, layout.coordinate_query_offset, layout.coordinate_key_offset, 0};
  }
};

/// Calls body(kind of heads), one of those above.
template <class Body>
inline __attribute__((always_inline)) void with_heads(const Layout& layout, const Body& body) {
  if (PublishedHeads::fits(layout))
    body(PublishedHeads{});
  else if (StudentHeads::fits(layout))
    body(StudentHeads{});
  else
    body(AnyHeads{});
}

/// A number of each end of a pair: of the direction whose centre that is.
template <class Real>
struct BothEnds {
  Real own = Real(0), other = Real(0);
};

/// Queries and keys, or their gradients, of one head and one atom.
template <class Real>
struct QueryKey {
  Real *query, *key;
};

/// sum_e w_e t_e of one head.
template <class Real>
inline __attribute__((always_inline)) BothEnds<Real> attention_weights(int width, QueryKey<const Real> own, QueryKey<const Real> other,
                                                                       const Real* filter) {
  Vec<Real> forth = Vec<Real>{}, back = Vec<Real>{};
#pragma GCC unroll 8
  for (int e = 0; e < width; e += kWidth<Real>) {
    const Vec<Real> w = load<Real>(filter + e);
    forth += w * (load<Real>(own.query + e) * load<Real>(other.key + e));
    back += w * (load<Real>(other.query + e) * load<Real>(own.key + e));
  }
  return {sum<Real>(forth), sum<Real>(back)};
}

/// sum_e G_i v_j and sum_e G_j v_i of one head.
template <class Real>
inline __attribute__((always_inline)) BothEnds<Real> value_products(int width, const Real* own_gradient, const Real* own_value,
                                                                    const Real* other_gradient, const Real* other_value) {
  Vec<Real> forth = Vec<Real>{}, back = Vec<Real>{};
#pragma GCC unroll 8
  for (int e = 0; e < width; e += kWidth<Real>) {
    forth += load<Real>(own_gradient + e) * load<Real>(other_value + e);
    back += load<Real>(other_gradient + e) * load<Real>(own_value + e);
  }
  return {sum<Real>(forth), sum<Real>(back)};
}

/// to += factor from, of one head.
template <class Real>
inline __attribute__((always_inline)) void add_head(int width, Real factor, const Real* from, Real* to) {
#pragma GCC unroll 8
  for (int e = 0; e < width; e += kWidth<Real>) {
    store<Real>(to + e, load<Real>(to + e) + factor * load<Real>(from + e));
  }
}

/// A filter of one pair in the adjoint, from a channel on.
template <class Real>
struct FilterRow {
  const Real *value, *slope;  ///< `slope`: the derivative of its radial part with respect to r
  Real* gradient;             ///< dE/dw; may lie where the value does
  FilterRow from(int channel) const { return {value + channel, slope + channel, gradient + channel}; }
};

/// One head backwards from the factors p: the filter's gradient, whose product with its slope is added to `radial`, and the gradients of
/// queries and keys of both atoms are added to. Returns the attention weights of attention_weights().
template <class Real>
inline __attribute__((always_inline)) BothEnds<Real> head_adjoint(int width, BothEnds<Real> factor, QueryKey<const Real> own,
                                                                  QueryKey<const Real> other, FilterRow<Real> filter,
                                                                  QueryKey<Real> own_gradient, QueryKey<Real> other_gradient,
                                                                  Vec<Real>& radial) {
  Vec<Real> forth = Vec<Real>{}, back = Vec<Real>{};
#pragma GCC unroll 8
  for (int e = 0; e < width; e += kWidth<Real>) {
    const Vec<Real> w = load<Real>(filter.value + e);
    const Vec<Real> own_query = load<Real>(own.query + e), own_key = load<Real>(own.key + e);
    const Vec<Real> other_query = load<Real>(other.query + e), other_key = load<Real>(other.key + e);
    const Vec<Real> own_product = own_query * other_key, other_product = other_query * own_key;
    forth += w * own_product;
    back += w * other_product;
    const Vec<Real> gradient = factor.own * own_product + factor.other * other_product;
    store<Real>(filter.gradient + e, gradient);
    radial += gradient * load<Real>(filter.slope + e);
    const Vec<Real> own_w = factor.own * w, other_w = factor.other * w;
    store<Real>(own_gradient.query + e, load<Real>(own_gradient.query + e) + own_w * other_key);
    store<Real>(own_gradient.key + e, load<Real>(own_gradient.key + e) + other_w * other_query);
    store<Real>(other_gradient.key + e, load<Real>(other_gradient.key + e) + own_w * own_query);
    store<Real>(other_gradient.query + e, load<Real>(other_gradient.query + e) + other_w * own_key);
  }
  return {sum<Real>(forth), sum<Real>(back)};
}

}  // namespace SO3MD_CPU_NAMESPACE
