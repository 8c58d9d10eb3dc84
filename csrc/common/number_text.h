// Numbers in messages.
#pragma once

#include <cstdio>
#include <string>

namespace so3md {

/// As a person would write it: 4.5, not 4.500000. At most 17 digits.
inline std::string number_text(double value, int digits = 6) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.*g", digits, value);
  return text;
}

}  // namespace so3md
