// Numbers in messages.
#pragma once

#include <cstdio>
#include <string>

namespace so3md {

/// As a person would write it: 4.5, not 4.500000.
inline std::string number_text(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%g", value);
  return text;
}

}  // namespace so3md
