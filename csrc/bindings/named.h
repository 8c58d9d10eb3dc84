// Values by the names that Python gives them.
#pragma once

#include <pybind11/pybind11.h>

#include <string>
#include <utility>

namespace so3md {

/// The value of a name. what: what is named, for the error. Throws ValueError, with all names, for another one.
template <class Value, std::size_t size>
Value value_named(const char* what, const std::string& name, const std::pair<const char*, Value> (&known)[size]) {
  std::string names;
  for (const auto& [other, value] : known) {
    if (name == other) return value;
    names += (names.empty() ? "" : ", ") + std::string(other);
  }
  throw pybind11::value_error("there is no " + std::string(what) + " '" + name + "': expected one of " + names);
}

}  // namespace so3md
