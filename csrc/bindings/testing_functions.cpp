// Python binding of the elementary functions that the kernels approximate, for tests of their errors.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <string>

#include "bindings/bindings.h"
#include "bindings/named.h"
#include "common/aligned.h"
#include "model/names.h"
#include "network/kernels.h"

namespace so3md {

namespace {

constexpr py::ssize_t kWidestVector = 64;  // numbers; arrays for the kernels are filled up to a multiple

template <class Real>
py::tuple values_and_slopes(const std::string& name, const DoubleArray& x) {
  const auto padded = static_cast<std::size_t>((x.size() + kWidestVector - 1) / kWidestVector * kWidestVector);
  AlignedVector<Real> argument(padded), value(padded);
  std::transform(x.data(), x.data() + x.size(), argument.begin(), [](double number) { return static_cast<Real>(number); });
  const KernelTable<Real>& functions = kernels<Real>();
  const auto count = static_cast<int>(padded);
  if (name == "exp") {
    functions.exponentials(count, argument.data(), value.data());
    argument = value;  // its own derivative
  } else {
    functions.activations(value_named("activation", name, kActivations), count, argument.data(), value.data());
  }
  py::array_t<double> values(x.size()), slopes(x.size());
  std::copy_n(value.begin(), x.size(), values.mutable_data());
  std::copy_n(argument.begin(), x.size(), slopes.mutable_data());
  return py::make_tuple(values, slopes);
}

}  // namespace

void bind_functions(py::module_& module) {
  module.def(
      "elementary_function",
      [](const std::string& name, const DoubleArray& x, const std::string& precision) {
        return parse_precision(precision) == Precision::double_ ? values_and_slopes<double>(name, x) : values_and_slopes<float>(name, x);
      },
      py::arg("name"), py::arg("x"), py::arg("precision"),
      R"(An elementary function and its derivative, (n,) each, as the kernels of this machine's instruction set compute them.

name: "exp", or an activation such as "silu"; x (n,); precision: "double", or "mixed" for single precision. Raises
ValueError for another name.)");
}

}  // namespace so3md
