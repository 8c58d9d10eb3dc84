// Loops over channels of any number, in vectors as far as they go.
#pragma once

#include "cpu/simd.h"

namespace SO3MD_CPU_NAMESPACE::training {

/// Access to as many numbers as V holds.
template <class Real, class V>
struct Lanes {
  static V get(const Real* from) {
    if constexpr (sizeof(V) == sizeof(Real))
      return *from;
    else
      return load<Real>(from);
  }
  static void put(Real* to, V value) {
    if constexpr (sizeof(V) == sizeof(Real))
      *to = value;
    else
      store<Real>(to, value);
  }
  static void add(Real* to, V value) { put(to, get(to) + value); }
};

/// Calls body(e, lanes) for the channels from begin to end.
template <class Real, class Body>
inline __attribute__((always_inline)) void for_channels(std::int64_t begin, std::int64_t end, const Body& body) {
  std::int64_t e = begin;
  for (; e + kWidth<Real> <= end; e += kWidth<Real>) body(e, Lanes<Real, Vec<Real>>{});
  for (; e < end; ++e) body(e, Lanes<Real, Real>{});
}

/// A sum over channels.
template <class Real>
struct ChannelSum {
  Vec<Real> lanes{};
  Real rest = 0;

  void add(Vec<Real> value) { lanes += value; }
  void add(Real value) { rest += value; }
  Real total() const { return sum<Real>(lanes) + rest; }
};

}  // namespace SO3MD_CPU_NAMESPACE::training
