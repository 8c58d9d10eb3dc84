// Arrays that are filled anew every time.
#pragma once

#include <cstddef>

namespace so3md {

/// Resizes an array whose old contents nobody needs. Where it has to grow, it gives its memory back before it asks for more, which
/// std::vector::resize does not, so that the largest arrays are never there twice; with a little room, since what a neighbour list has
/// to hold differs by less than a per cent from one to the next in a large system.
template <class Vector>
void resize_discarding(Vector& values, std::size_t size) {
  if (size > values.capacity()) {
    values = Vector();
    values.reserve(size + size / 64);
  }
  values.resize(size);
}

}  // namespace so3md
