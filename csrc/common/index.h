// Numbers as positions in arrays.
#pragma once

#include <concepts>
#include <cstddef>

namespace so3md {

/// `value`, which is not negative, as a position in an array.
constexpr std::size_t index_of(std::integral auto value) { return static_cast<std::size_t>(value); }

}  // namespace so3md
