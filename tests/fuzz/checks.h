// What must hold of every refusal.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace so3md::fuzz {

/// Ends the program, which libFuzzer reports with the input that led here.
[[noreturn]] inline void fail(const std::string& what) {
  std::fprintf(stderr, "fuzzing: %s\n", what.c_str());
  std::abort();
}

/// The message of a ModelError can be shown to anybody, whatever the file holds: printable ASCII of bounded length.
inline void check_message(const std::string& message) {
  constexpr std::size_t kLongest = 4096;
  if (message.size() > kLongest) fail("the message is too long: " + message);
  if (!std::all_of(message.begin(), message.end(), [](char c) { return c >= ' ' && c <= '~'; }))
    fail("the message has bytes of the file: " + message);
}

}  // namespace so3md::fuzz
