// Arithmetic as the engine was written for, whatever the program around it has set.
#pragma once

#include <cfenv>

namespace so3md {

/// While it lives, this thread rounds to nearest and traps nothing, as do threads that it starts; then all is as before, flags included.
/// Programs may have floating-point exceptions end them (Fortran's -ffpe-trap), which vectorised code raises for numbers that nobody uses,
/// or have numbers near zero flushed (-ffast-math).
class DefaultArithmetic {
 public:
  DefaultArithmetic() noexcept {
    std::fegetenv(&before_);
    std::fesetenv(FE_DFL_ENV);
  }
  ~DefaultArithmetic() { std::fesetenv(&before_); }
  DefaultArithmetic(const DefaultArithmetic&) = delete;
  DefaultArithmetic& operator=(const DefaultArithmetic&) = delete;

 private:
  std::fenv_t before_;
};

}  // namespace so3md
