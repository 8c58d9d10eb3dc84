#include "model/radial.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "model/cutoff_function.h"

namespace so3md {

Cutoff::Cutoff(const Hyperparameters& hyper) : type_(hyper.cutoff_function), cutoff_(hyper.cutoff), exponent_(hyper.cutoff_exponent) {}

double Cutoff::operator()(double r, double* derivative) const {
  const ValueAndSlope<double> phi = cutoff_function(type_, cutoff_, exponent_, r);
  *derivative = phi.slope;
  return phi.value;
}

RadialFunctions::RadialFunctions(const Model& model)
    : type_(model.hyper.radial_basis), size_(model.hyper.num_radial), cutoff_(model.hyper.cutoff), gamma_(model.hyper.bernstein_gamma) {
  const auto size = static_cast<std::size_t>(size_);
  switch (type_) {
    case RadialBasis::bernstein:
      binomials_.assign(size, 1.0);
      for (std::size_t k = 1; k < size; ++k)
        binomials_[k] = std::round(binomials_[k - 1] * static_cast<double>(size - k) / static_cast<double>(k));
      break;
    case RadialBasis::gaussian:
      centers_ = model.radial_centers;
      widths_ = model.radial_widths;
      break;
    case RadialBasis::phys: {
      const double last = std::exp(-cutoff_);
      centers_.resize(size);
      for (std::size_t k = 0; k < size; ++k)
        centers_[k] = size_ == 1 ? last : last + (1.0 - last) * static_cast<double>(k) / static_cast<double>(size - 1);
      break;
    }
    case RadialBasis::bessel:
      break;
  }
}

void RadialFunctions::operator()(double r, double* values, double* derivatives) const {
  switch (type_) {
    case RadialBasis::bernstein:
      return bernstein(r, values, derivatives);
    case RadialBasis::gaussian:
      return gaussian(r, values, derivatives);
    case RadialBasis::bessel:
      return bessel(r, values, derivatives);
    case RadialBasis::phys:
      return phys(r, values, derivatives);
  }
}

// g_k = binom(K-1, k) y^k (1-y)^(K-1-k) with y = exp(-gamma r).
void RadialFunctions::bernstein(double r, double* values, double* derivatives) const {
  const double y = std::exp(-gamma_ * r);
  const double rest = -std::expm1(-gamma_ * r);
  const int n = size_ - 1;
  std::vector<double> power(static_cast<std::size_t>(size_) + 1, 1.0), rest_power(static_cast<std::size_t>(size_) + 1, 1.0);
  for (std::size_t k = 1; k < power.size(); ++k) {
    power[k] = power[k - 1] * y;
    rest_power[k] = rest_power[k - 1] * rest;
  }
  for (int k = 0; k < size_; ++k) {
    const auto up = static_cast<std::size_t>(k), down = static_cast<std::size_t>(n - k);
    const double binomial = binomials_[up];
    values[k] = binomial * power[up] * rest_power[down];
    const double rise = k > 0 ? k * power[up - 1] * rest_power[down] : 0.0;
    const double fall = k < n ? (n - k) * power[up] * rest_power[down - 1] : 0.0;
    derivatives[k] = binomial * (rise - fall) * (-gamma_ * y);
  }
}

// g_k = exp(-(r - c_k)^2 / (2 w_k^2)).
void RadialFunctions::gaussian(double r, double* values, double* derivatives) const {
  for (int k = 0; k < size_; ++k) {
    const double width = widths_[static_cast<std::size_t>(k)];
    const double t = (r - centers_[static_cast<std::size_t>(k)]) / width;
    values[k] = std::exp(-0.5 * t * t);
    derivatives[k] = -values[k] * t / width;
  }
}

// g_k = sin(pi k r / r_c) / r.
void RadialFunctions::bessel(double r, double* values, double* derivatives) const {
  for (int k = 0; k < size_; ++k) {
    const double wave = std::numbers::pi * k / cutoff_;
    values[k] = std::sin(wave * r) / r;
    derivatives[k] = (wave * std::cos(wave * r) - values[k]) / r;
  }
}

// g_k = exp(-beta (exp(-r) - mu_k)^2), beta = ((2/K)(1 - exp(-r_c)))^-2.
void RadialFunctions::phys(double r, double* values, double* derivatives) const {
  const double spread = 2.0 / size_ * (1.0 - std::exp(-cutoff_));
  const double beta = 1.0 / (spread * spread);
  const double y = std::exp(-r);
  const double step = size_ > 1 ? centers_[1] - centers_[0] : 1.0;
  const double steps = std::round((y - centers_[0]) / step);
  const int nearest = steps > 0.0 ? static_cast<int>(std::min(steps, size_ - 1.0)) : 0;
  // exp(-beta (t - s)^2) = exp(-beta t^2) exp(beta (2 t s - s^2)): away from the nearest centre, each value is the one before times a
  // factor, and so is each factor. Three exponentials in place of one for each centre.
  const double ratio = std::exp(-2.0 * beta * step * step);
  for (const int direction : {1, -1}) {
    double t = y - centers_[static_cast<std::size_t>(nearest)];
    double value = std::exp(-beta * t * t), factor = std::exp(beta * step * (2.0 * direction * t - step));
    for (int k = nearest; k >= 0 && k < size_; k += direction) {
      t = y - centers_[static_cast<std::size_t>(k)];
      values[k] = value;
      derivatives[k] = 2.0 * beta * t * y * value;
      value *= factor;
      factor *= ratio;
    }
  }
}

}  // namespace so3md
