// Structs of the C interface, which begin with their size and grow at their end: a program may have been compiled with an earlier header.
#pragma once

#include <cstddef>
#include <cstring>
#include <stdexcept>
#include <string>

#include "so3md/so3md.h"

namespace so3md {

/// A struct that this library cannot take.
class VersionError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Size of a struct in the first header that had it; no program has a smaller one.
template <class Struct>
constexpr std::size_t kFirstSize = 0;
template <>
inline constexpr std::size_t kFirstSize<so3md_model_info> = offsetof(so3md_model_info, metadata) + sizeof(const char*);
template <>
inline constexpr std::size_t kFirstSize<so3md_options> = offsetof(so3md_options, skin) + sizeof(double);
template <>
inline constexpr std::size_t kFirstSize<so3md_system> = offsetof(so3md_system, spin) + sizeof(double);
template <>
inline constexpr std::size_t kFirstSize<so3md_results> = offsetof(so3md_results, reserved) + sizeof(std::int32_t);

/// Throws VersionError for the size of a later struct, and for what is no size of one.
template <class Struct>
void check_size(std::size_t size, const char* name) {
  static_assert(sizeof(Struct) >= kFirstSize<Struct> && kFirstSize<Struct> > 0);
  if (size > sizeof(Struct) && size < 16 * sizeof(Struct))
    throw VersionError(std::string(name) + " has " + std::to_string(size) + " bytes: this library, so3md " + so3md_version() + ", knows " +
                       std::to_string(sizeof(Struct)) + "; the program was compiled with the header of a later one: install that");
  if (size < kFirstSize<Struct> || size > sizeof(Struct))
    throw VersionError(std::string(name) + "::struct_size is " + std::to_string(size) + ": expected " + std::to_string(sizeof(Struct)) +
                       "; call " + name + "_init first");
}

/// Puts a value into a struct of the program, of which it may know the beginning only.
template <class Struct>
void write_struct(Struct value, Struct* to, std::size_t size, const char* name) {
  check_size<Struct>(size, name);
  if (to == nullptr) throw std::invalid_argument(std::string(name) + " is NULL: expected the address of one");
  value.struct_size = size;
  std::memcpy(to, &value, size);
}

/// A struct of the program; what it does not know of is as in `defaults`.
template <class Struct>
Struct read_struct(const Struct* from, Struct defaults, const char* name) {
  if (from == nullptr) throw std::invalid_argument(std::string(name) + " is NULL: expected the address of one");
  check_size<Struct>(from->struct_size, name);
  std::memcpy(&defaults, from, from->struct_size);
  return defaults;
}

}  // namespace so3md
