// Seconds spent in the stages of an evaluation.
#pragma once

#include <chrono>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace so3md {

/// An evaluation of a small molecule takes 0.2 ms and has fifty laps: a stage is known by the address of its name, which must be a literal,
/// and what all of them do stands in the program once.
class Stopwatch {
 public:
  /// Books the time since the last call (or start()) under `stage`.
  [[gnu::noinline]] void lap(const char* stage) {
    const auto now = Clock::now();
    add(stage, std::chrono::duration<double>(now - last_).count());
    last_ = now;
  }
  /// Books a time that something else took.
  void add(const char* stage, double seconds) {
    for (auto& [name, total] : stages_)
      if (name == stage) {
        total += seconds;
        return;
      }
    stages_.emplace_back(stage, seconds);
  }
  void start() { last_ = Clock::now(); }
  /// Seconds by stage; literals of the same text may have several addresses.
  std::map<std::string, double> seconds() const {
    std::map<std::string, double> sums;
    for (const auto& [name, total] : stages_) sums[name] += total;
    return sums;
  }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point last_ = Clock::now();
  std::vector<std::pair<const char*, double>> stages_;
};

}  // namespace so3md
