// Uniform cubic B-splines of several channels at once.
#pragma once

#include <functional>
#include <vector>

namespace so3md {

/// A function of the distance with several channels: fills value[channels] and derivative[channels].
using ChannelFunction = std::function<void(double r, double* value, double* derivative)>;

/// Coefficients of the cubic spline that interpolates `function` on a uniform grid over [0, end] with the exact slopes at both ends:
/// (intervals + 3) rows of `channels`. On interval i with t in [0, 1) the spline is
///   sum_s b_s(t) row[i + s],  b_0 = (1-t)^3/6, b_1 = (3t^3-6t^2+4)/6, b_2 = (-3t^3+3t^2+3t+1)/6, b_3 = t^3/6.
std::vector<double> fit_spline(const ChannelFunction& function, int channels, double end, int intervals);

/// The four weights b_s(t) and their derivatives with respect to t.
struct SplineWeights {
  double value[4];
  double derivative[4];
};
SplineWeights spline_weights(double t);

}  // namespace so3md
