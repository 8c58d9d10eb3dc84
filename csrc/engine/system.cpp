#include "engine/system.h"

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "common/index.h"

namespace so3md {

namespace {

template <class Value>
bool same_bits(const Value* a, const Value* b, std::size_t count) {
  return count == 0 || std::memcmp(a, b, count * sizeof(Value)) == 0;
}

}  // namespace

void SystemCopy::set(const System& system) {
  numbers_.assign(system.numbers, system.numbers + system.n);
  positions_.assign(system.positions, system.positions + 3 * std::ptrdiff_t{system.n});
  std::copy_n(system.cell, cell_.size(), cell_.begin());
  periodic_ = system.periodic;
  charge_ = system.totals.charge;
  spin_ = system.totals.spin;
  known_ = true;
}

bool SystemCopy::is(const System& system) const {
  return known_ && system.external.is_none() && index_of(system.n) == numbers_.size() && system.periodic == periodic_ &&
         system.totals.charge == charge_ && system.totals.spin == spin_ && same_bits(system.cell, cell_.data(), cell_.size()) &&
         same_bits(system.numbers, numbers_.data(), numbers_.size()) && same_bits(system.positions, positions_.data(), positions_.size());
}

}  // namespace so3md
