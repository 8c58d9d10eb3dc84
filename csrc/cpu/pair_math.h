// The functions that the formulas of csrc/physics ask for, on the short vectors of an instruction set.
#pragma once

#include "common/formula.h"
#include "cpu/simd.h"
#include "cpu/vector_math.h"

namespace SO3MD_CPU_NAMESPACE {

/// Two vectors as one number: the formulas are long chains of dependent operations, and with two of them at a time the processor has
/// twice as much to do while it waits.
template <class Real>
struct TwinVector {
  static constexpr int kSize = 2 * kWidth<Real>;
  Vec<Real> first, second;

  static SO3MD_FORMULA TwinVector load(const Real* from) { return {cpu::SO3MD_ISA::load(from), cpu::SO3MD_ISA::load(from + kWidth<Real>)}; }
  SO3MD_FORMULA void store(Real* to) const {
    cpu::SO3MD_ISA::store(to, first);
    cpu::SO3MD_ISA::store(to + kWidth<Real>, second);
  }

  /// Sum of all numbers.
  SO3MD_FORMULA double total() const { return static_cast<double>(cpu::SO3MD_ISA::sum<Real>(first + second)); }

  friend SO3MD_FORMULA TwinVector operator-(TwinVector a) { return {-a.first, -a.second}; }
  friend SO3MD_FORMULA TwinVector operator+(TwinVector a, TwinVector b) { return {a.first + b.first, a.second + b.second}; }
  friend SO3MD_FORMULA TwinVector operator-(TwinVector a, TwinVector b) { return {a.first - b.first, a.second - b.second}; }
  friend SO3MD_FORMULA TwinVector operator*(TwinVector a, TwinVector b) { return {a.first * b.first, a.second * b.second}; }
  friend SO3MD_FORMULA TwinVector operator/(TwinVector a, TwinVector b) { return {a.first / b.first, a.second / b.second}; }
  friend SO3MD_FORMULA TwinVector operator+(TwinVector a, Real b) { return {a.first + b, a.second + b}; }
  friend SO3MD_FORMULA TwinVector operator-(TwinVector a, Real b) { return {a.first - b, a.second - b}; }
  friend SO3MD_FORMULA TwinVector operator*(TwinVector a, Real b) { return {a.first * b, a.second * b}; }
  friend SO3MD_FORMULA TwinVector operator+(Real a, TwinVector b) { return {a + b.first, a + b.second}; }
  friend SO3MD_FORMULA TwinVector operator-(Real a, TwinVector b) { return {a - b.first, a - b.second}; }
  friend SO3MD_FORMULA TwinVector operator*(Real a, TwinVector b) { return {a * b.first, a * b.second}; }
  friend SO3MD_FORMULA TwinVector operator/(Real a, TwinVector b) { return {a / b.first, a / b.second}; }
  SO3MD_FORMULA TwinVector& operator+=(TwinVector b) { return *this = *this + b; }
};

/// The policy `Math` of the pair physics (common/formula.h).
template <class Real_>
struct VectorMath {
  using Real = Real_;
  using Number = TwinVector<Real>;
  static constexpr bool single = sizeof(Real) == sizeof(float);

  static SO3MD_FORMULA Number constant(Real value) { return {broadcast<Real>(value), broadcast<Real>(value)}; }
  static SO3MD_FORMULA Number minimum(Number a, Number b) {
    return {cpu::SO3MD_ISA::minimum<Real>(a.first, b.first), cpu::SO3MD_ISA::minimum<Real>(a.second, b.second)};
  }
  static SO3MD_FORMULA Number maximum(Number a, Number b) {
    return {cpu::SO3MD_ISA::maximum<Real>(a.first, b.first), cpu::SO3MD_ISA::maximum<Real>(a.second, b.second)};
  }
  static SO3MD_FORMULA Number square_root(Number x) {
    return {cpu::SO3MD_ISA::square_root<Real>(x.first), cpu::SO3MD_ISA::square_root<Real>(x.second)};
  }
  static SO3MD_FORMULA Number exponential(Number x) {
    return {cpu::SO3MD_ISA::exponential<Real>(x.first), cpu::SO3MD_ISA::exponential<Real>(x.second)};
  }

  /// float: 1 - gaussian P(y), y = 1/(1 + t/2), with a polynomial P fitted by scripts/fit_erfc.py: the fit is good to 3e-9, rounding
  /// leaves 3e-7 at worst and 3e-8 on average. double: the C library's, number by number.
  static SO3MD_FORMULA Number error_function(Number t, Number gaussian) {
    if constexpr (single) {
      const Number y = Real(1) / (Real(1) + Real(0.5) * t);
      Number polynomial = constant(kErfc[kErfcDegree]);
      for (int k = kErfcDegree - 1; k >= 0; --k) polynomial = polynomial * y + kErfc[k];
      return Real(1) - gaussian * polynomial;
    } else {
      Real numbers[Number::kSize];
      t.store(numbers);
      for (Real& number : numbers) number = __builtin_erf(number);
      return Number::load(numbers);
    }
  }

  /// Starts from y = x^(-1/7) with the exponent bits divided by -7 (off by up to 3 %). With w = 1 - x y^7, each step multiplies y by the
  /// beginning of the series of (1-w)^(-1/7), and the result is
  ///     x^(-6/7) = y^6 (1-w)^(-6/7),  x^(1/7) = x x^(-6/7).
  /// Neither division nor logarithm, and the rounding errors of y cancel. Zero has the root zero and a large finite slope.
  static SO3MD_FORMULA ValueAndSlope<Number> seventh_root(Number x) {
    Number y{inverse_seventh_root_start(x.first), inverse_seventh_root_start(x.second)};
    constexpr int steps = single ? 1 : 2;
    for (int step = 0; step < steps; ++step) {
      const Number w = Real(1) - x * seventh_power(y);
      y += y * w * (Real(1.0 / 7) + w * (Real(4.0 / 49) + w * Real(20.0 / 343)));
    }
    const Number y2 = y * y, y6 = y2 * y2 * y2;
    const Number w = Real(1) - x * y6 * y;
    const Number inverse = y6 + y6 * w * (Real(6.0 / 7) + w * Real(39.0 / 49));
    return {x * inverse, inverse * Real(1.0 / 7)};
  }

 private:
  static constexpr int kErfcDegree = 7;
  static constexpr Real kErfc[kErfcDegree + 1] = {Real(5.154055127420e-03),  Real(2.286708518198e-01), Real(5.144719006781e-01),
                                                  Real(-2.923707857258e-01), Real(8.605572350429e-01), Real(-3.077422818344e-01),
                                                  Real(-3.392603961304e-02), Real(2.518506700381e-02)};

  static SO3MD_FORMULA Number seventh_power(Number y) {
    const Number y2 = y * y, y4 = y2 * y2;
    return y4 * y2 * y;
  }

  static SO3MD_FORMULA Vec<Real> inverse_seventh_root_start(Vec<Real> x) {
    // Reading the bits as an integer is a piecewise linear logarithm; the constant makes the largest error of y smallest.
    constexpr Real magic = single ? Real((8.0 / 7 * 127 - 0.0566) * 0x1p23) : Real((8.0 / 7 * 1023 - 0.0566) * 0x1p52);
    const Vec<Real> bits = __builtin_convertvector(reinterpret_cast<VecInt<Real>>(x), Vec<Real>);
    const VecInt<Real> start = __builtin_convertvector(magic - bits * Real(1.0 / 7), VecInt<Real>);
    return reinterpret_cast<Vec<Real>>(start);
  }
};

}  // namespace SO3MD_CPU_NAMESPACE
