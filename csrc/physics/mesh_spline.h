// Cardinal B-splines, by which a charge is spread over the points of a mesh (docs/theory.md, section 11).
#pragma once

#include <type_traits>

namespace so3md {

/// Calls `body` with the order as a constant, so that loops over the points of a spline have a fixed length. Orders are even.
template <class Body>
void with_spline_order(int order, const Body& body) {
  switch (order) {
    case 4:
      return body(std::integral_constant<int, 4>());
    case 6:
      return body(std::integral_constant<int, 6>());
    case 8:
      return body(std::integral_constant<int, 8>());
    case 10:
      return body(std::integral_constant<int, 10>());
    case 12:
      return body(std::integral_constant<int, 12>());
    case 14:
      return body(std::integral_constant<int, 14>());
    default:
      return body(std::integral_constant<int, 16>());
  }
}

/// One step of the recurrence: from order `order - 1` to `order`.
inline void raise_spline_order(int order, double t, double* weights) {
  const double scale = 1.0 / (order - 1);
  weights[order - 1] = scale * t * weights[order - 2];
  for (int l = order - 2; l > 0; --l) weights[l] = scale * ((t + (order - 1 - l)) * weights[l - 1] + (1.0 - t + l) * weights[l]);
  weights[0] *= scale * (1.0 - t);
}

/// M_order(t + order - 1 - l) for l = 0 .. order - 1: the weights of the `order` points up to the one before a charge that lies `t` (0 to
/// 1) beyond it, in units of the spacing. They add up to 1.
template <int order>
void spline_weights(double t, double* weights) {
  weights[0] = 1.0 - t;
  weights[1] = t;
  for (int n = 3; n <= order; ++n) raise_spline_order(n, t, weights);
}

/// The same with derivatives with respect to t.
template <int order>
void spline_weights(double t, double* weights, double* slopes) {
  spline_weights<order - 1>(t, weights);
  slopes[0] = -weights[0];
  for (int l = 1; l < order - 1; ++l) slopes[l] = weights[l - 1] - weights[l];
  slopes[order - 1] = weights[order - 2];
  raise_spline_order(order, t, weights);
}

}  // namespace so3md
