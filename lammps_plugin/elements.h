// Names of chemical elements.
#pragma once

#include <string>

namespace so3md {

/// Atomic number of an element's symbol, or 0 if there is no such element.
int atomic_number(const std::string& symbol);

/// Symbol of an atomic number between 1 and 118.
const char* element_symbol(int atomic_number);

}  // namespace so3md
