// Memory of the steps of a training.
#pragma once

#include <cstddef>

#include "cpu/simd.h"

namespace SO3MD_CPU_NAMESPACE::training {

/// Pieces of memory, one after the other, each at a cache line. Without memory only `used`, the size in bytes, is counted.
struct Room {
  char* memory = nullptr;
  std::size_t used = 0;

  template <class T>
  T* take(std::int64_t count) {
    T* const piece = memory == nullptr ? nullptr : reinterpret_cast<T*>(memory + used);
    used += (static_cast<std::size_t>(count) * sizeof(T) + 63) / 64 * 64;
    return piece;
  }
};

}  // namespace SO3MD_CPU_NAMESPACE::training
