// Switches that users set in the environment.
#pragma once

#include <cstdlib>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

namespace so3md {

/// Whether an environment variable switches something on ("1") or off ("0"); none where it is not set or empty.
/// Throws std::invalid_argument for anything else.
inline std::optional<bool> environment_switch(const char* variable) {
  const char* text = std::getenv(variable);
  if (text == nullptr || *text == '\0') return std::nullopt;
  const std::string_view value = text;
  if (value == "0" || value == "1") return value == "1";
  throw std::invalid_argument("the environment variable " + std::string(variable) + " is '" + text +
                              "': expected 1 (on) or 0 (off), or nothing for the default");
}

}  // namespace so3md
