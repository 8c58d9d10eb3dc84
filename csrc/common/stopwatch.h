// Seconds spent in the stages of an evaluation.
#pragma once

#include <chrono>
#include <map>
#include <string>

namespace so3md {

class Stopwatch {
 public:
  /// Books the time since the last call (or start()) under `stage`.
  void lap(const char* stage) {
    const auto now = Clock::now();
    seconds_[stage] += std::chrono::duration<double>(now - last_).count();
    last_ = now;
  }
  /// Books a time that something else took.
  void add(const char* stage, double seconds) { seconds_[stage] += seconds; }
  void start() { last_ = Clock::now(); }
  const std::map<std::string, double>& seconds() const { return seconds_; }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point last_ = Clock::now();
  std::map<std::string, double> seconds_;
};

}  // namespace so3md
