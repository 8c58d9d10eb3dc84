// Functions of the distance: cutoff functions and radial bases, with their derivatives.
#pragma once

#include <vector>

#include "model/model.h"

namespace so3md {

/// phi(r), which takes interactions smoothly to zero at the cutoff (eq. 3-6 of docs/theory.md).
class Cutoff {
 public:
  explicit Cutoff(const Hyperparameters& hyper);
  /// phi(r) and its derivative (1/A); both 0 from the cutoff on.
  double operator()(double r, double* derivative) const;

 private:
  CutoffFunction type_;
  double cutoff_;
  double exponent_;
};

/// g_k(r), k = 0..size-1 (eq. 7-10 of docs/theory.md). Not multiplied by the cutoff function.
class RadialFunctions {
 public:
  explicit RadialFunctions(const Model& model);
  int size() const { return size_; }
  /// Values and derivatives (1/A) at distance r > 0; both arrays have size() numbers.
  void operator()(double r, double* values, double* derivatives) const;

 private:
  void bernstein(double r, double* values, double* derivatives) const;
  void gaussian(double r, double* values, double* derivatives) const;
  void bessel(double r, double* values, double* derivatives) const;
  void phys(double r, double* values, double* derivatives) const;

  RadialBasis type_;
  int size_;
  double cutoff_;
  double gamma_;
  std::vector<double> binomials_;
  std::vector<double> centers_, widths_;
};

}  // namespace so3md
