// Uniform quintic B-splines of several channels at once.
#pragma once

#include <functional>
#include <vector>

namespace so3md {

/// A function with several channels: fills value[channels].
using ChannelFunction = std::function<void(double z, double* value)>;

/// Coefficients of the quintic spline on [0, end] that agrees with `function` at the knots and in the middle of the two intervals at each
/// end: (intervals + 5) rows of `channels`. On interval i with t in [0, 1) it is sum_s b_s(t) row[i + s] with the weights of
/// spline_basis.h.
std::vector<double> fit_spline(const ChannelFunction& function, int channels, double end, int intervals);

}  // namespace so3md
